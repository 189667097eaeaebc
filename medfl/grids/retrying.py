"""Asking a hospital again that was lost while it worked, where a round can not do without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from medfl.flower import compat
from medfl.grids.base import WrappingGrid

_LOOK = 2.0  # seconds between looks whether a lost node is back
_LOST = (compat.NODE_UNAVAILABLE, compat.CLIENT_APP_CRASHED)


@dataclass
class _Exchange:
    """Messages that were sent together."""

    asked: int
    failed: int = 0  # of which an error was handed on


@dataclass
class _Open:
    """A message that is not answered yet."""

    message: Message
    exchange: _Exchange
    under: str  # the identifier under which it travels, empty while its node is away
    loss: Message | None = None  # the error that told of it


class PatientGrid(WrappingGrid):
    """A Grid that sends a message again when its node was lost and comes back; to be wrapped in a `StreamingGrid`.

    Flower tells of a node that went away with an error, and never sends it the message again. As long as the quorum can be
    reached without the node, that error is the answer. Where it can not, the answer is awaited: from the node itself, once it
    is connected again, until whoever waits gives up. Errors of other kinds count as answers that will not come; replies that
    are refused later are not known here. A site begins the round anew from what it kept of the one before, so
    nothing is changed by its being asked twice.

    Parameters
    ----------
    grid : Grid
        The grid that does the work.
    quorum : int
        Answers that an exchange can not do without.

    Attributes
    ----------
    awaited : callable
        Is told each node that is waited for, when it is lost. Can be set later.
    """

    def __init__(self, grid: Grid, quorum: int) -> None:
        super().__init__(grid)
        self._quorum = quorum
        self.awaited: Callable[[int], None] = lambda node: None
        self._open: dict[str, _Open] = {}  # by the identifier that the caller knows
        self._looked = 0.0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send the messages of an exchange and return their identifiers."""
        sent = list(messages)
        identifiers = list(self._grid.push_messages(sent))
        exchange = _Exchange(len(sent))
        self._open |= {i: _Open(m, exchange, i) for i, m in zip(identifiers, sent, strict=True) if i}
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come; that a node was lost is one only where the others are enough."""
        found = [reply for identifier in message_ids for reply in self._pull(identifier)]
        self._send_again()
        return found

    def _pull(self, identifier: str) -> list[Message]:
        waiting = self._open.get(identifier)
        if waiting is None:
            return list(self._grid.pull_messages([identifier]))
        replies = list(self._grid.pull_messages([waiting.under])) if waiting.under else []
        exchange = waiting.exchange
        losses = [reply for reply in replies if reply.has_error() and reply.error.code in _LOST]
        if losses and exchange.asked - exchange.failed <= self._quorum:
            waiting.under, waiting.loss = "", losses[0]
            self.awaited(waiting.message.metadata.dst_node_id)
            return []
        if replies:
            exchange.failed += any(reply.has_error() for reply in replies)
            del self._open[identifier]
        return replies

    def give_up(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the errors of the nodes that were lost and have not come back."""
        open_now = {identifier: self._open[identifier] for identifier in message_ids if identifier in self._open}
        for identifier, waiting in open_now.items():
            if waiting.under in ("", identifier):  # one that was sent again keeps its entry: a late reply is found by it
                del self._open[identifier]
        return [waiting.loss for waiting in open_now.values() if waiting.loss is not None and not waiting.under]

    def _send_again(self) -> None:
        away = [waiting for waiting in self._open.values() if not waiting.under]
        if not away or time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        here = set(self._grid.get_node_ids())
        for waiting in away:
            old = waiting.message
            node = old.metadata.dst_node_id
            if node in here:
                again = Message(old.content, dst_node_id=node, message_type=old.metadata.message_type)
                (waiting.under,) = self._grid.push_messages([again])
                compat.take_identity(old, again)  # whoever reads the reply knows the old message
