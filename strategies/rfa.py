"""RFA: the geometric median, the model with the smallest sum of distances to all replies."""

from __future__ import annotations

from typing import Any

from medfl.aggregate import DiskReplies, geometric_median
from medfl.messages.models import Tensor
from medfl.strategies.base.disk_strategy import DiskStrategy


class Rfa(DiskStrategy):
    """Robust federated aggregation (Pillutla, Kakade, Harchaoui 2022, Algorithm 2, https://arxiv.org/abs/1912.13445).

    The smoothed Weiszfeld iterations start at the weighted mean; each weighs a reply by its weight divided by its distance to
    the last iterate. Bad sites can move the model by a bounded distance only, as long as they hold less than half of the
    weight: with ``weighted_by=""`` as long as they are less than half of the sites, whatever size they claim. The paper stops
    after a few iterations, as each is an exchange with the sites; here they cost nothing, and go on until the result settles.

    Parameters
    ----------
    iterations : int
        Largest number of iterations.
    nu : float
        Smoothing: distances below it count as this distance.
    **options
        As for `FedAvg`.
    """

    def __init__(self, *, iterations: int = 100, nu: float = 1e-6, **options: Any) -> None:
        if iterations < 1 or nu <= 0:
            raise ValueError(f"iterations must be at least 1, nu above 0 (came {iterations}, {nu})")
        super().__init__(**options)
        self.iterations, self.nu = iterations, nu

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        return geometric_median(replies, replies.weights, nu=self.nu, iterations=self.iterations)
