"""Grid that reports a node that went away, which Flower did by itself until 1.42."""

from __future__ import annotations

import time
from collections.abc import Iterable

from flwr.app import Error, Message, RecordDict
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
        self._pending: dict[str, Message] = {}  # by identifier: what is not answered yet, without its content
        self._lost: set[str] = set()  # identifiers of those whose node is gone
        self._last_check = time.monotonic()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their identifiers."""
        sent = list(messages)
        identifiers = list(self._grid.push_messages(sent))
        self._pending |= {i: _without_content(message) for i, message in zip(identifiers, sent, strict=True) if i}
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, and an error for each node that is gone and left none."""
        asked = list(message_ids)
        self._check_nodes()
        replies = list(self._grid.pull_messages(asked))  # after the check: a node may have answered and gone
        for reply in replies:
            self._forget(reply.metadata.reply_to_message_id)
        for identifier in [identifier for identifier in asked if identifier in self._lost]:
            reply = Message(Error(compat.ErrorCode.NODE_UNAVAILABLE), reply_to=self._pending[identifier])
            compat.mark_as_from_server(reply)
            self._forget(identifier)
            replies.append(reply)
        return replies

    def _check_nodes(self) -> None:
        if not self._pending or time.monotonic() - self._last_check < _CHECK_INTERVAL:
            return
        connected = set(self._grid.get_node_ids())
        self._lost = {i for i, message in self._pending.items() if message.metadata.dst_node_id not in connected}
        self._last_check = time.monotonic()

    def _forget(self, identifier: str) -> None:
        self._pending.pop(identifier, None)
        self._lost.discard(identifier)


def _without_content(message: Message) -> Message:
    bare = Message(RecordDict(), dst_node_id=message.metadata.dst_node_id, message_type=message.metadata.message_type)
    compat.copy_message_id(bare, message)
    return bare
