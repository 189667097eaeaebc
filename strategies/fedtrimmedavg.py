"""The coordinate-wise trimmed mean: the largest and the smallest values of every weight do not count."""

from __future__ import annotations

import math
from typing import Any

from medfl.aggregate import Spool, trimmed_mean
from medfl.errors import QuorumError
from medfl.strategies.spooled import Spooled
from medfl.updates import Tensor


class FedTrimmedAvg(Spooled):
    """Coordinate-wise trimmed mean (Yin et al. 2018, Algorithm 1 option II, https://arxiv.org/abs/1803.01498).

    Of the n values of every weight the ``int(beta * n)`` largest and smallest are left out, and the others averaged; the sizes
    of the sites do not count. It withstands that many bad sites. Flower's class of this name quietly averages everything when
    ``beta * n`` is below 1; here such a round is refused.

    Parameters
    ----------
    beta : float
        Share of the replies that is cut from each end, from 0, which cuts none, to less than 0.5.
    **options
        As for `FedAvg`; the weights count for the mean metrics only.
    """

    def __init__(self, *, beta: float = 0.2, **options: Any) -> None:
        if not 0 <= beta < 0.5:
            raise ValueError(f"beta must be from 0 to less than 0.5 (came {beta})")
        super().__init__(**options)
        self.beta = beta

    def _rule(self, spool: Spool) -> dict[str, Tensor]:
        n = len(spool.sites)
        if self.beta and int(self.beta * n) == 0:
            raise QuorumError(
                "TRIM-TOO-FEW",
                f"{n} replies came, and a share of {self.beta:g} of them is less than one: nothing would be trimmed. The round "
                f"was given up.",
                f"Have at least {math.ceil(1 / self.beta)} sites answer, or set 'beta' higher.",
            )
        return trimmed_mean(spool, self.beta)
