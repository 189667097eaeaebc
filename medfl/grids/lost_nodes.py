"""Grid that reports a node that went away, which Flower did by itself until 1.42."""

from __future__ import annotations

import time
from collections.abc import Iterable

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.serverapp import Grid

from medfl.flower import compat
from medfl.grids.grid_wrapper import GridWrapper

_CHECK_INTERVAL = 2.0  # seconds between two checks whether the nodes that have not answered are connected


class LostNodesGrid(GridWrapper):
    """A Grid that answers for a node that is no longer connected, with the error that Flower has for it.

    Flower 1.42 makes that error itself, and it is handed on. Flower 1.43 awaits the reply of a node for as long as the message
    may live, however long the node has been gone.

    Parameters
    ----------
    grid : Grid
        The grid that is wrapped, Flower's own.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self._pending: dict[str, Metadata] = {}  # by identifier: messages that are not answered yet, but may still be
        self._lost: set[str] = set()  # identifiers of those whose node was gone at the last check
        self._last_check = time.monotonic()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their identifiers."""
        sent = list(messages)
        identifiers = list(self._grid.push_messages(sent))
        now = time.time()
        # Callers give up without a word, and some ask again in a later round; so it is Flower's clock that ends the wait
        self._pending = {i: about for i, about in self._pending.items() if about.created_at + about.ttl > now}
        self._pending |= {i: message.metadata for i, message in zip(identifiers, sent, strict=True) if i}
        self._lost.intersection_update(self._pending)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, and an error for each node that is gone and left none."""
        asked = list(dict.fromkeys(message_ids))
        self._check_nodes()
        replies = list(self._grid.pull_messages(asked))  # after the check: a node may have answered and gone
        for reply in replies:
            self._forget(reply.metadata.reply_to_message_id)
        lost = [identifier for identifier in asked if identifier in self._lost]
        for identifier in self._still_lost(lost) if lost else ():
            lost_error = Error(compat.ErrorCode.NODE_UNAVAILABLE)
            replies.append(answer_with_error(identifier, self._pending[identifier], lost_error))
            self._forget(identifier)
        return replies

    def _check_nodes(self) -> None:
        if self._pending and time.monotonic() - self._last_check >= _CHECK_INTERVAL:
            self._lost = self._still_lost(self._pending)
            self._last_check = time.monotonic()

    def _still_lost(self, identifiers: Iterable[str]) -> set[str]:
        """Return those of some pending messages whose node is gone at this moment, as it may have come back since the check."""
        connected = set(self._grid.get_node_ids())
        return {identifier for identifier in identifiers if self._pending[identifier].dst_node_id not in connected}

    def _forget(self, identifier: str) -> None:
        self._pending.pop(identifier, None)
        self._lost.discard(identifier)


def answer_with_error(identifier: str, about: Metadata, error: Error) -> Message:
    """Return an error as the answer to a message, as if that were of this moment: a reply lives no longer than its message."""
    asked = Message(RecordDict(), dst_node_id=about.dst_node_id, message_type=about.message_type, ttl=about.ttl)
    compat.set_message_id(asked, identifier)
    reply = Message(error, reply_to=asked)
    compat.mark_as_from_server(reply)
    return reply
