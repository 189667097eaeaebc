"""FedCostWAvg: a site's weight grows with its size and with the fall of its loss."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord

from medfl.aggregate import DiskReplies, combine
from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import TRAIN_LOSS
from medfl.strategies.base.disk_strategy import DiskStrategy
from medfl.strategies.base.reply import Reply, read_loss

Costs = Mapping[str, float]  # by site

_MIN_COST, _MAX_COST = 1e-12, 1e12
_MAX_RATIO = 1e6


@dataclass(eq=False, kw_only=True)
class CostWeighted(DiskStrategy):
    """Base of strategies whose weights depend on the losses of all sites, in this round and earlier ones.

    Replies wait on disk until all losses are known. The losses of earlier rounds are part of `state`.

    Parameters
    ----------
    loss_key : str
        Metric of a training reply that holds the cost of its site in this round; a reply without it is left out.

    Further keywords are those of `FedAvg`.
    """

    loss_key: str = TRAIN_LOSS

    def __post_init__(self) -> None:
        super().__post_init__()
        self._past_costs: dict[str, list[float]] = {}  # of earlier rounds, the latest last
        self._current_costs: dict[str, float] = {}

    def state(self) -> dict[str, Tensor]:
        """Return the costs of the sites in earlier rounds, with the state of the transforms."""
        return super().state() | {f"costs/{site}": np.array(costs) for site, costs in self._past_costs.items()}

    def restore(self, state: Tensors) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        self._past_costs = {
            key.removeprefix("costs/"): list(map(float, x)) for key, x in state.items() if key.startswith("costs/")
        }

    def begin_round(self, sent: ArrayRecord) -> None:
        self._current_costs = {}
        super().begin_round(sent)

    def add_reply(self, reply: Reply) -> None:
        cost = read_loss(reply, self.loss_key)
        super().add_reply(reply)
        self._current_costs[reply.site] = min(max(cost, _MIN_COST), _MAX_COST)

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        weights = (
            replies.weights
            if set(replies.sites) - set(self._past_costs)
            else self.compute_weights(replies.weights, self._current_costs, self._past_costs)
        )
        for site, cost in self._current_costs.items():
            self._past_costs[site] = [*self._past_costs.get(site, []), cost][-self.history_rounds() :]
        total = math.fsum(weights.values())
        return combine(replies, {site: weight / total for site, weight in weights.items()})

    def history_rounds(self) -> int:
        """Return the number of earlier rounds whose costs are kept."""
        return 1

    @abstractmethod
    def compute_weights(self, sizes: Costs, now: Costs, before: Mapping[str, list[float]]) -> dict[str, float]:
        """Return the weight of each site.

        Parameters
        ----------
        sizes : mapping of str to float
            Weight of each site in a plain mean.
        now : mapping of str to float
            Costs of this round.
        before : mapping of str to list of float
            Costs of earlier rounds of every site in `sizes`, the latest last.
        """


@dataclass(eq=False, kw_only=True)
class FedCostWAvg(CostWeighted):
    """Cost weighted averaging (Mächler et al. 2021, https://arxiv.org/abs/2111.08649), which won FeTS 2021.

    ``weight_i = alpha * n_i / sum(n) + (1 - alpha) * k_i / sum(k)``, where n_i is the size of a site and k_i its cost in the
    last round divided by its cost in this one. The cost is the training loss. In the first round, and whenever the last cost of
    a site is not known, it is FedAvg.

    Parameters
    ----------
    alpha : float
        Share of the size in the weight, 0 to 1.

    Further keywords are those of `CostWeighted`.
    """

    alpha: float = 0.5

    def compute_weights(self, sizes: Costs, now: Costs, before: Mapping[str, list[float]]) -> dict[str, float]:
        falls = {site: min(before[site][-1] / now[site], _MAX_RATIO) for site in sizes}
        return blend_weights(sizes, ((self.alpha, sizes), (1.0 - self.alpha, falls)))


def blend_weights(sizes: Mapping[str, float], parts: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Return a mixture of weightings, each first scaled to the same sum over the sites as the sizes.

    A part whose values do not sum to more than 0 is replaced by the sizes.

    Examples
    --------
    >>> blend_weights({"a": 1.0, "b": 3.0}, ((0.5, {"a": 1.0, "b": 3.0}), (0.5, {"a": 1.0, "b": 1.0})))
    {'a': 1.5, 'b': 2.5}
    """
    total = math.fsum(sizes.values())
    weights = dict.fromkeys(sizes, 0.0)
    for share, values in parts:
        chosen = values if math.fsum(values.values()) > 0 else sizes
        scale = share * total / math.fsum(chosen.values())
        weights = {site: weight + scale * chosen[site] for site, weight in weights.items()}
    return weights
