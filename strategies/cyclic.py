"""Cyclic weight transfer: one model travels from site to site."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from medfl.messages.exchange import Exchange
from medfl.messages.models import Tensors, layout_of, validate_arrays
from medfl.messages.records import array_views, to_array_record
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedavg import FedAvg

_SILENCE = "[NO-REPLY] Nothing came before the deadline, or the circle had ended before its turn."


@dataclass(eq=False, kw_only=True)
class Cyclic(FedAvg):
    """Cyclic weight transfer (Chang et al. 2018, https://doi.org/10.1093/jamia/ocy017), or cyclic incremental learning.

    A round is one full circle: the first site trains the model of the last round, the second site the model of the first, and
    so on; the model of the last site is that of the round. A site that fails is skipped, with the reason in the record, and the
    next one gets the model that the failed one had got. Nothing is averaged, so a site has more influence the later it comes.
    A circle ends as soon as the quorum is out of reach: the sites after that are not asked, since a hospital trains one model a
    round, and could not train the other one that it gets when the round is done again.

    The messages are sent one after the other while replies are aggregated, so a round lasts as long as all its sites together.

    Parameters
    ----------
    order : {"random", "name"}
        Order of the sites: a new random one in every round, decided by the seed, or that of their names.
    hop_timeout : float
        Seconds that each site after the first may take.

    Further keywords are those of `FedAvg`; ``mean`` has no effect.
    """

    has_common_start: ClassVar[bool] = False

    order: Literal["random", "name"] = "random"
    hop_timeout: float = 3600.0

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Choose the sites of the circle and build the message to the first of them."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        if messages:
            self._training = Exchange(server_round, messages, self.site_names, (), _SILENCE, self._absent), arrays
        self._grid, self._hops = grid, sorted(messages, key=lambda m: self._rank(server_round, m.metadata.dst_node_id))
        return self._hops[:1]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Send the model from site to site, and return that of the last site and the mean metrics."""
        return super().aggregate_train(server_round, self._send_around(replies) if self._training else replies)

    def _send_around(self, first: Iterable[Message]) -> Iterator[Message]:
        yield from first
        for done, message in enumerate(self._hops[1:], start=1):
            if self._counted + len(self._hops) - done < self.quorum:
                return
            content = message.content
            message.content = RecordDict({**content, self.arrayrecord_key: self._model})
            message.metadata.created_at = time.time()  # its time to live begins now, not with the circle
            yield from self._grid.send_and_receive([message], timeout=self.hop_timeout)
            message.content = content  # or the models of all sites would stay in memory until the end of the circle

    def _rank(self, server_round: int, node: int) -> tuple[bytes, str, int]:
        name = self.site_names.get(node, f"node-{node}")
        drawn = hashlib.sha256(f"{self.seed}|circle {server_round}|{name}".encode()).digest() if self.order == "random" else b""
        return drawn, name, node

    def start_model(self, site: str, sent: Tensors) -> Tensors:
        return array_views(self._model)

    def begin_round(self, sent: ArrayRecord) -> None:
        self._model, self._counted = sent, 0
        self._layout = layout_of(array_views(sent))

    def add_reply(self, reply: Reply) -> None:
        self._model = to_array_record(validate_arrays(reply.arrays, self._layout))
        self._counted += 1

    def finish_round(self) -> ArrayRecord:
        return self._model
