"""Base of algorithms in which every site keeps tensors of its own and the server needs their mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import COUNTED, ROUND, to_array_record
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedavg import FedAvg


@dataclass(eq=False)
class ClientStateMean(FedAvg):
    """Base of SCAFFOLD and FedDyn: follow the mean of the tensors that the sites keep, without holding those tensors.

    The sites' tensors start at zero, and each counted reply says by how much they changed. So one sum is enough for any number
    of sites:

        mean = (sum over all sites of weight * tensor) / (sites of the federation * mean weight),

    which with equal weights is the papers' update by |S| / N of the mean change in a sample S of N sites. With other weights
    it is the mean that the weighted objective needs; until every site has been counted once, the others are taken to have the
    mean weight.

    The sum and the sites' tensors must stay in step: a site that changed its tensors in a reply that was lost, late or refused
    would shift the mean for good. So the server sends each site the round in which it was counted last, and the site goes on
    from its tensors of that round (`medfl.clients.training.client_state`). A reply that did not count is thus as if the site
    had not been sampled, which both papers allow. After a crash the restored server sends the rounds that it knows of, and the
    repeated round has the same bits.

    The keywords are those of `FedAvg`.
    """

    goes_beyond_mean: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}  # of every site that was counted at least once
        self._last_counted: dict[str, int] = {}  # round, by site
        self._sites = 0  # number of sites in the federation
        self._round = 0
        self._round_weights: dict[str, float] = {}  # by site, in this round
        self._is_training = False

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Choose the sites of a training round and build their messages."""
        self._sites = len(self.site_names) or len(list(grid.get_node_ids()))
        self._round, self._is_training = server_round, True
        try:
            return super().configure_train(server_round, arrays, config, grid)
        finally:
            self._is_training = False

    def state(self) -> dict[str, Tensor]:
        """Return the sum, and the weight and the last counted round of every site."""
        own = {
            **{f"sum/{name}": tensor for name, tensor in self._sums.items()},
            **{f"weight/{site}": np.array(weight) for site, weight in self._weights.items()},
            **{f"counted/{site}": np.array(number) for site, number in self._last_counted.items()},
        }
        return super().state() | own

    def restore(self, state: Tensors) -> None:
        """Go on from what `state` returned."""
        super().restore(state)
        parts: dict[str, dict[str, Tensor]] = {"sum": {}, "weight": {}, "counted": {}}
        for key, tensor in state.items():
            kind, _, name = key.partition("/")
            if kind in parts:
                parts[kind][name] = tensor
        self._sums = {name: np.array(tensor) for name, tensor in parts["sum"].items()}
        self._weights = {site: float(weight) for site, weight in parts["weight"].items()}
        self._last_counted = {site: int(number) for site, number in parts["counted"].items()}

    def message_contents(self, nodes: Mapping[int, str], arrays: ArrayRecord, config: ConfigRecord) -> dict[int, RecordDict]:
        if not self._is_training:
            return super().message_contents(nodes, arrays, config)
        extra = self.extra_records(arrays)
        contents: dict[int, RecordDict] = {}  # by the last counted round: one object for all sites that are sent the same
        for last in {self._last_counted.get(site, 0) for site in nodes.values()}:
            contents[last] = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config, **extra})
            contents[last][COUNTED] = to_array_record({ROUND: np.array(last)})
        return {node: contents[self._last_counted.get(site, 0)] for node, site in nodes.items()}

    def extra_records(self, arrays: ArrayRecord) -> dict[str, ArrayRecord]:
        """Return the records that the sites are sent with the model."""
        return {}

    def begin_round(self, sent: ArrayRecord) -> None:
        self._round_weights = {}
        super().begin_round(sent)

    def add_reply(self, reply: Reply) -> None:
        super().add_reply(reply)
        self._round_weights[reply.site] = reply.weight

    def add_mean_change(self, changes: Tensors) -> None:
        """Add to the sum what the sites' tensors changed in a round, given the mean change."""
        total = sum(self._round_weights[site] for site in sorted(self._round_weights))
        for name, change in changes.items():
            self._sums[name] = np.asarray(self._sums.get(name, 0.0) + np.asarray(change, sum_dtype(change)) * total)
        self._weights |= self._round_weights
        self._last_counted |= dict.fromkeys(self._round_weights, self._round)

    def mean_client_state(self) -> dict[str, Tensor]:
        """Return the mean of the tensors of all sites of the federation; empty before the first counted reply."""
        known = len(self._weights)
        total = sum(self._weights[site] for site in sorted(self._weights)) * max(self._sites, known) / max(known, 1)
        return {name: np.asarray(tensor / total) for name, tensor in self._sums.items()}


def sum_dtype(tensor: Tensor) -> np.dtype[Any]:
    """Return the type in which a tensor is summed."""
    return np.result_type(tensor.dtype, np.float32)
