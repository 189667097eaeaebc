"""FedBuff: the server goes on as soon as some replies are in, so that one slow hospital does not hold the others up."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from medfl.records import RoundRecord, array_views
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.replies import NO_REPLY, Exchange, Reply, count_bytes, node_asked
from medfl.strategies.streaming import StreamingGrid
from medfl.updates import Tensor, Tensors, check_layout, layout_of

STILL_WORKING = "[NO-REPLY] Still at work; the reply will count in a later round."


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    """What a site is at work on."""

    message: Message
    model: ArrayRecord
    server_round: int


class FedBuff(FedAvg):
    """Buffered asynchronous aggregation (Nguyen et al. 2022, https://arxiv.org/abs/2106.06639, Algorithm 1).

    A round ends when so many replies as fit the buffer are in, from this round or earlier ones. Sites that are done are asked
    again with the new model, the others go on undisturbed. A reply counts by what its site changed in the model that it
    started from, and less for every round that it is old:

        x <- x + server_learning_rate * sum of w_i (1 + age_i)^-exponent (x_i - start_i) / sum of w_i.

    Which replies make a round depends on who is fast, so another run has other bits; given the replies of a round, their order
    decides nothing. After a restart of the server all sites are asked anew. The models that sites still work on are in memory.

    Parameters
    ----------
    buffer : int
        Replies that make a round; 0: half of the sites, rounded up. Never fewer than the quorum.
    exponent : float
        How fast old replies lose their weight.
    server_learning_rate : float
        The paper's global learning rate.
    round_timeout : float
        Seconds to wait for the replies of a round.
    **options
        As for `FedAvg`; ``fraction`` is without meaning, but that 0 leaves training out.
    """

    scores_in_training = False

    def __init__(
        self,
        *,
        buffer: int = 0,
        exponent: float = 0.5,
        server_learning_rate: float = 1.0,
        round_timeout: float = 3600.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.buffer, self.exponent = buffer, exponent
        self.server_learning_rate, self.round_timeout = server_learning_rate, round_timeout
        self._tasks: dict[int, _Task] = {}  # by node

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Make the messages to the sites that are not at work."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self._idle = [m for m in messages if m.metadata.dst_node_id not in self._tasks]
        self._tasks |= {m.metadata.dst_node_id: _Task(m, arrays, server_round) for m in self._idle}
        self._grid, self._round = grid, server_round
        self._wanted = max(self.quorum, self.buffer or math.ceil(len(messages) / 2))
        if messages:
            everyone = [task.message for task in self._tasks.values()]
            self._training = Exchange(server_round, everyone, self.site_names), arrays
        return self._idle

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Wait until the buffer is full, and return the new model and the mean metrics.

        Raises
        ------
        QuorumError
            ``QUORUM`` when too few replies came before the time was over.
        """
        if self._training is None:
            return super().aggregate_train(server_round, replies)
        try:
            return super().aggregate_train(server_round, self._arriving(replies))
        finally:
            self.last_round = self._honest(self.last_round)

    def _arriving(self, replies: Iterable[Message]) -> Iterator[Message]:
        """Yield replies until the buffer is full; who answered is idle again."""
        grid = self._grid
        if isinstance(grid, StreamingGrid):  # `replies` would wait for all sites; their messages are on the way
            replies = grid.receive(self._sent_ids(), timeout=self.round_timeout)
        else:
            replies = itertools.chain(replies, grid.pull_messages(self._sent_ids()))
        for reply in replies:
            yield reply
            node = node_asked(reply, [task.message for task in self._tasks.values()])
            self._tasks.pop(reply.metadata.src_node_id if node is None else node, None)
            if isinstance(grid, StreamingGrid) and self._mean.count >= self._wanted:
                return

    def _sent_ids(self) -> list[str]:
        return [task.message.metadata.message_id for task in self._tasks.values()]

    def _honest(self, record: RoundRecord) -> RoundRecord:
        """Return the record of a round in which who is still at work is not called late, and old messages are not sent anew."""
        replies = tuple(
            dataclasses.replace(r, reason=STILL_WORKING) if r.status == "late" and r.reason == NO_REPLY else r
            for r in record.replies
        )
        return dataclasses.replace(record, replies=replies, bytes_down=sum(count_bytes(m.content) for m in self._idle))

    def _start_of(self, site: str, sent: Tensors) -> Tensors:
        return array_views(self._task_of(site).model)

    def _begin(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        self._layout = layout_of(self._sent)
        self._full = Fraction(0)
        super()._begin(sent)

    def _take(self, reply: Reply) -> None:
        check_layout(reply.arrays, self._layout)
        task = self._task_of(reply.site)
        start = array_views(task.model)
        moved = {name: _moved(x, start[name], self._sent[name]) for name, x in reply.arrays.items()}
        age = self._round - task.server_round
        super()._take(dataclasses.replace(reply, arrays=moved, weight=reply.weight * (1 + age) ** -self.exponent))
        self._full += Fraction(reply.weight)

    def _task_of(self, site: str) -> _Task:
        return next(t for node, t in self._tasks.items() if self.site_names.get(node, f"node-{node}") == site)

    def _finish(self) -> ArrayRecord:
        share = self.server_learning_rate * self._mean.weight / float(self._full)
        model = ArrayRecord()
        for name, mean in self._mean.results(drain=True):
            sent = self._sent[name]
            is_float = mean.dtype.kind == "f" and share != 1.0
            model[name] = Array(np.asarray(sent + (mean - sent) * mean.dtype.type(share)) if is_float else mean)
        del self._mean, self._sent
        return model


def _moved(came: Tensor, start: Tensor, sent: Tensor) -> Tensor:
    """Return what a site's change makes of the model that was sent last; just its model where it started from that one."""
    if came.dtype.kind != "f" or start is sent or np.array_equal(start, sent):
        return came
    return np.asarray(sent + (came - start))
