"""FedTrimmedAvg: the mean of every weight without its largest and smallest values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medfl.aggregate import DiskReplies, trimmed_mean
from medfl.errors import QuorumError
from medfl.messages.models import Tensor
from medfl.strategies.base.disk_strategy import DiskStrategy


@dataclass(eq=False)
class FedTrimmedAvg(DiskStrategy):
    """Coordinate-wise trimmed mean (Yin et al. 2018, Algorithm 1 option II, https://arxiv.org/abs/1803.01498).

    Of the n values of every weight the ``int(beta * n)`` largest and as many smallest are left out, and the others averaged;
    the sizes of the sites do not count. It withstands that many bad sites. Flower's class of this name averages everything,
    without a word, when ``beta * n`` is below 1; here such a round fails.

    Parameters
    ----------
    beta : float
        Share of the replies that is cut off at each end: from 0, which cuts off none, to less than 0.5.

    Further keywords are those of `FedAvg`; weights affect the mean metrics only.
    """

    beta: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 0.5:
            raise ValueError(f"beta must be from 0 to less than 0.5 (came {self.beta})")
        super().__post_init__()

    def check_sites(self, sites: int) -> None:
        """Raise ``TRIM-TOO-FEW`` when of that many replies none would be cut off."""
        if self.beta and int(self.beta * sites) == 0:
            raise QuorumError(
                "TRIM-TOO-FEW",
                f"{sites} replies are too few: a share of {self.beta:g} of them is less than one, so nothing is trimmed.",
                f"Have at least {math.ceil(1 / self.beta)} sites answer, or set 'beta' higher.",
            )

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        self.check_sites(len(replies.sites))
        return trimmed_mean(replies, self.beta)
