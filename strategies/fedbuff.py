"""FedBuff: a round ends as soon as enough replies are in, so that a slow site does not hold up the others."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import ClassVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from medfl.aggregate import short_weight
from medfl.grids.streaming import StreamingGrid
from medfl.messages.exchange import Exchange, find_asked_node
from medfl.messages.models import Tensor, Tensors, check_layout, interpolate, layout_of
from medfl.messages.records import array_views
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedavg import FedAvg

STILL_WORKING = "[NO-REPLY] Still training; the reply will count in a later round."


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    """A message that a site has not answered yet, and the model that it was sent."""

    message: Message
    model: ArrayRecord
    server_round: int


@dataclasses.dataclass(eq=False, kw_only=True)
class FedBuff(FedAvg):
    """Buffered asynchronous aggregation (Nguyen et al. 2022, https://arxiv.org/abs/2106.06639, Algorithm 1).

    A round ends when the buffer is full, with replies from this round or earlier ones. Sites that have replied get the new
    model, the others go on undisturbed. A reply counts by its update, measured from the model that its site started from, and
    the less the older it is; buffers (running statistics) are averaged with the same weights, as they arrive:

        x <- x + server_learning_rate * sum of w_i (1 + age_i)^-exponent (x_i - start_i) / sum of w_i.

    Which replies make up a round depends on which sites are fast, so a second run has other bits; given the replies of a round,
    their order changes nothing. After a restart of the server all sites are asked anew. The models that sites still train are
    in memory. Those sites are left alone between rounds (`busy_sites`), so the others score the model.

    Parameters
    ----------
    buffer : int
        Replies that end a round; 0 for half of the sites of the round, rounded up. Never fewer than the quorum.
    exponent : float
        Rate at which old replies lose their weight.
    server_learning_rate : float
        The paper's global learning rate.
    round_timeout : float
        Seconds to wait for the replies of a round.

    Further keywords are those of `FedAvg`; of the sites that ``fraction_train`` chooses, those that still train are not asked
    anew.
    """

    has_common_start: ClassVar[bool] = False
    distinguishes_buffers: ClassVar[bool] = True
    goes_beyond_mean: ClassVar[bool] = True

    buffer: int = 0
    exponent: float = 0.5
    server_learning_rate: float = 1.0
    round_timeout: float = 3600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tasks: dict[int, _Task] = {}  # by node

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Build the messages to the sites that are not training."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        if not messages:
            return []
        idle = [m for m in messages if m.metadata.dst_node_id not in self._tasks]
        earlier = [task.message for task in self._tasks.values()]
        self._training = Exchange(server_round, idle, self.site_names, earlier, STILL_WORKING), arrays
        self._tasks |= {m.metadata.dst_node_id: _Task(m, arrays, server_round) for m in idle}
        self._grid, self._round = grid, server_round
        self._buffer_size = max(self.quorum, self.buffer or math.ceil(len(messages) / 2))
        return idle

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Wait until the buffer is full, and return the new model and the mean metrics.

        Raises
        ------
        QuorumError
            ``QUORUM`` when too few replies came in time.
        """
        return super().aggregate_train(server_round, self._receive_until_full(replies) if self._training else replies)

    def busy_sites(self) -> frozenset[str]:
        """Return the sites whose replies will count in a later round."""
        return frozenset(map(self._site_name, self._tasks))

    def _receive_until_full(self, replies: Iterable[Message]) -> Iterator[Message]:
        """Yield replies until the buffer is full; a site that has answered is idle again."""
        grid, streams = self._grid, isinstance(self._grid, StreamingGrid)
        if isinstance(grid, StreamingGrid):  # `replies` would wait for all sites, whose messages have been sent already
            replies = grid.receive(_message_ids(self._tasks.values()), timeout=self.round_timeout)
        else:  # such a grid has waited for all replies of this round already
            earlier = [task for task in self._tasks.values() if task.server_round < self._round]
            replies = itertools.chain(replies, grid.pull_messages(_message_ids(earlier)))
        for reply in replies:
            node = find_asked_node(reply, [task.message for task in self._tasks.values()])
            node = reply.metadata.src_node_id if node is None else node
            yield reply
            del reply  # or it would stay in memory while the next one is fetched
            self._tasks.pop(node, None)
            if streams and self._mean.count >= self._buffer_size:
                return

    def start_model(self, site: str, sent: Tensors) -> Tensors:
        return array_views(self._find_task(site).model)

    def begin_round(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        self._layout = layout_of(self._sent)
        self._full_weight = Fraction(0)
        super().begin_round(sent)

    def add_reply(self, reply: Reply) -> None:
        check_layout(reply.arrays, self._layout)
        task = self._find_task(reply.site)
        age, arrays = self._round - task.server_round, dict(reply.arrays)
        weight = short_weight(reply.weight)  # as the mean counts it, so that replies of this round give a share of 1
        if age:
            start, parameters = array_views(task.model), arrays.keys() - self.buffers
            arrays |= {name: _rebase(arrays[name], start[name], self._sent[name]) for name in parameters}
        super().add_reply(dataclasses.replace(reply, arrays=arrays, weight=weight * (1 + age) ** -self.exponent))
        self._full_weight += Fraction(weight)

    def _find_task(self, site: str) -> _Task:
        return next(task for node, task in self._tasks.items() if self._site_name(node) == site)

    def _site_name(self, node: int) -> str:
        return self.site_names.get(node, f"node-{node}")

    def finish_round(self) -> ArrayRecord:
        self._share = self.server_learning_rate * self._mean.weight / float(self._full_weight)
        model = super().finish_round()
        del self._sent
        return model

    def new_tensor(self, name: str, mean: Tensor) -> Tensor:
        return interpolate(self._sent[name], mean, self._share)


def _rebase(trained: Tensor, start: Tensor, sent: Tensor) -> Tensor:
    """Return a tensor of the model that was sent last, plus what a site changed in the one that it started from."""
    if trained.dtype.kind != "f":
        return trained
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where it is added
        return np.asarray(sent + np.subtract(trained, start, dtype=np.float64), sent.dtype)


def _message_ids(tasks: Iterable[_Task]) -> list[str]:
    return [task.message.metadata.message_id for task in tasks]
