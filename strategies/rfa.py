"""RFA: the geometric median, the model with the smallest sum of distances to all replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from medfl.aggregate import DiskReplies, geometric_median
from medfl.messages.models import Tensor
from medfl.strategies.base.disk_strategy import DiskStrategy
from medfl.strategies.base.reply import Reply, update_norm


@dataclass(eq=False, kw_only=True)
class Rfa(DiskStrategy):
    """Robust federated aggregation (Pillutla, Kakade, Harchaoui 2022, Algorithm 2, https://arxiv.org/abs/1912.13445).

    The smoothed Weiszfeld iterations start at the weighted mean; each weighs a reply by its weight divided by its distance to
    the last iterate. Bad sites can move the model by a bounded distance only, as long as they hold less than half of the
    weight: with ``weighted_by_key=""`` as long as they are less than half of the sites, whatever size they claim. The paper
    stops after a few iterations, as each is an exchange with the sites; here they cost nothing, and go on until the result
    settles. Distances are over the parameters; buffers (running statistics) become the coordinate-wise median of all replies.

    Parameters
    ----------
    iterations : int
        Largest number of iterations.
    nu : float
        Smoothing: distances below it count as this distance.

    Further keywords are those of `FedAvg`.
    """

    distinguishes_buffers: ClassVar[bool] = True

    iterations: int = 100
    nu: float = 1e-6

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.nu <= 0:
            raise ValueError(f"iterations must be at least 1, nu above 0 (came {self.iterations}, {self.nu})")
        super().__post_init__()

    def add_reply(self, reply: Reply) -> None:
        update_norm(reply)  # a distance that is out of range would make every share not-a-number
        super().add_reply(reply)

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        return geometric_median(replies, replies.weights, nu=self.nu, iterations=self.iterations)
