"""FedPIDAvg: a site's weight grows with its size, the fall of its loss, and the sum of its recent losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from medfl.strategies.fedcostwavg import Costs, CostWeighted, blend_weights


@dataclass(eq=False, kw_only=True)
class FedPIDAvg(CostWeighted):
    """PID weighted averaging (Mächler et al. 2022, https://arxiv.org/abs/2304.12117), which won FeTS 2022.

    ``weight_i = alpha * n_i / sum(n) + beta * k_i / sum(k) + gamma * m_i / sum(m)``, where n_i is the size of a site, k_i the
    fall of its cost since the last round, m_i the sum of its costs over the latest rounds, and ``gamma = 1 - alpha - beta``.
    The cost is the training loss. A cost that rose counts as unchanged, so no weight is negative. In the first round, and
    whenever the last cost of a site is not known, it is FedAvg.

    Parameters
    ----------
    alpha, beta : float
        Shares of size and fall in the weight; together at most 1.
    window : int
        Number of rounds in the sum, this one included.

    Further keywords are those of `CostWeighted`.
    """

    alpha: float = 0.45
    beta: float = 0.45
    window: int = 5

    def __post_init__(self) -> None:
        if self.alpha + self.beta > 1:
            raise ValueError(f"alpha and beta must sum to at most 1, came {self.alpha + self.beta:g}")
        super().__post_init__()

    def history_rounds(self) -> int:
        """Return the number of earlier rounds whose costs are kept."""
        return self.window

    def compute_weights(self, sizes: Costs, now: Costs, before: Mapping[str, list[float]]) -> dict[str, float]:
        last = {site: before[site][-1] for site in sizes}
        falls = {site: max(last[site] - now[site], 0.0) for site in sizes}
        sums = {site: math.fsum([*before[site], now[site]][-self.window :]) for site in sizes}
        rest = 1.0 - self.alpha - self.beta
        return blend_weights(sizes, ((self.alpha, sizes), (self.beta, falls), (rest, sums)))
