"""A Grid around another one, for those who change one thing about it."""

from __future__ import annotations

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from medfl.flower.compat import NodeInfo, Run


class GridWrapper(Grid):
    """A Grid that hands everything on to another.

    Parameters
    ----------
    grid : Grid
        The grid that does the work.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def set_run(self, run: Run) -> None:
        """Set the run that messages belong to."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message; Flower's own `Message` is the newer way."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are connected."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes that are connected, with what is known of each."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their identifiers."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come for these messages."""
        return self._grid.pull_messages(message_ids)

    def take_failures(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return what was held back of messages that nobody waits for any more: why no reply to them has come."""
        return self._grid.take_failures(message_ids) if isinstance(self._grid, GridWrapper) else ()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and return the replies, as the grid inside does it."""
        return self._grid.send_and_receive(messages, timeout=timeout)
