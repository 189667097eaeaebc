"""Grid that asks a site again when it was lost while it worked and the round cannot do without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from medfl.flower import compat
from medfl.grids.grid_wrapper import GridWrapper

_POLL_INTERVAL = 2.0  # seconds between two checks whether a lost node is back
_LOST_NODE_ERRORS = (compat.ErrorCode.NODE_UNAVAILABLE, compat.ErrorCode.CLIENT_APP_CRASHED)


@dataclass
class _MessageBatch:
    """Messages that were sent together."""

    sent: int
    failed: int = 0  # messages whose error was handed on


@dataclass
class _PendingMessage:
    """A message that is not answered yet."""

    message: Message
    batch: _MessageBatch
    sent_id: str  # the identifier under which it was sent last, empty while its node is away
    error: Message | None = None  # the error that reported the lost node


class RetryingGrid(GridWrapper):
    """A Grid that sends a message again when its node was lost and comes back; to be wrapped in a `StreamingGrid`.

    A node that went away is reported as an error. As long as the quorum can be reached without the node, that error is the
    answer. Otherwise its answer is awaited: the message is sent again once the node is connected again, until the caller gives
    up. Errors of other kinds count as answers that will not come. Replies that are refused later are not known here.

    Flower 1.42 deletes the message of a lost node; 1.43 still delivers it when the node is back, so that a site may be asked
    twice (decision 0015). That changes no result: a site begins the round anew from what it kept of the round before, and the
    answer to the message that was sent last is the one that counts.

    Parameters
    ----------
    grid : Grid
        The grid that is wrapped.
    quorum : int
        Answers that an exchange needs.
    on_node_lost : callable, optional
        Called with each lost node whose answer is awaited.
    """

    def __init__(self, grid: Grid, quorum: int, on_node_lost: Callable[[int], None] = lambda node: None) -> None:
        super().__init__(grid)
        self._quorum, self._on_node_lost = quorum, on_node_lost
        self._pending: dict[str, _PendingMessage] = {}  # by the identifier that the caller knows
        self._last_poll = 0.0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send the messages of an exchange and return their identifiers."""
        sent = list(messages)
        identifiers = list(self._grid.push_messages(sent))
        batch = _MessageBatch(len(sent))
        self._pending |= {i: _PendingMessage(m, batch, i) for i, m in zip(identifiers, sent, strict=True) if i}
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come; the error of a lost node is one of them only where the others are enough."""
        found = [reply for identifier in message_ids for reply in self._pull(identifier)]
        self._resend()
        return found

    def _pull(self, identifier: str) -> list[Message]:
        waiting = self._pending.get(identifier)
        if waiting is None:
            return list(self._grid.pull_messages([identifier]))
        replies = list(self._grid.pull_messages([waiting.sent_id])) if waiting.sent_id else []
        batch = waiting.batch
        losses = [reply for reply in replies if reply.has_error() and reply.error.code in _LOST_NODE_ERRORS]
        if losses and batch.sent - batch.failed <= self._quorum:
            waiting.sent_id, waiting.error = "", losses[0]
            self._on_node_lost(waiting.message.metadata.dst_node_id)
            return []
        if replies:
            batch.failed += any(reply.has_error() for reply in replies)
            del self._pending[identifier]
        return replies

    def take_failures(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the errors of the nodes that were lost and have not come back."""
        unanswered = {identifier: self._pending[identifier] for identifier in message_ids if identifier in self._pending}
        for identifier, waiting in unanswered.items():
            if waiting.sent_id in ("", identifier):  # what was sent again stays pending, so that a late reply is matched
                del self._pending[identifier]
        return [waiting.error for waiting in unanswered.values() if waiting.error is not None and not waiting.sent_id]

    def _resend(self) -> None:
        away = [waiting for waiting in self._pending.values() if not waiting.sent_id]
        if not away or time.monotonic() - self._last_poll < _POLL_INTERVAL:
            return
        self._last_poll = time.monotonic()
        connected = set(self._grid.get_node_ids())
        for waiting in away:
            old = waiting.message
            node = old.metadata.dst_node_id
            if node in connected:
                again = Message(old.content, dst_node_id=node, message_type=old.metadata.message_type)
                (waiting.sent_id,) = self._grid.push_messages([again])
                compat.set_message_id(old, again.metadata.message_id)  # so that the reply is matched to what the caller sent
