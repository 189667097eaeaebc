"""Base of Grids that wrap another one and change one thing about it, and of Grids that wait for replies by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from medfl.flower.compat import NodeInfo, Run


class WaitingGrid(Grid):
    """A Grid whose `pull_messages` waits a moment when nothing has come, so that its caller need not sleep."""


class GridWrapper(Grid):
    """A Grid that hands everything on to another.

    Parameters
    ----------
    grid : Grid
        The grid that is wrapped.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def set_run(self, run: Run) -> None:
        """Set the run that messages belong to."""
        self._grid.set_run(run)

    @property
    def waits_for_replies(self) -> bool:
        """Whether the innermost grid is a `WaitingGrid`."""
        return self._grid.waits_for_replies if isinstance(self._grid, GridWrapper) else isinstance(self._grid, WaitingGrid)

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
        """Return the errors that were held back for messages that nobody waits for any more: why no reply to them came."""
        return self._grid.take_failures(message_ids) if isinstance(self._grid, GridWrapper) else ()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and return the replies, as the grid inside does it."""
        return self._grid.send_and_receive(messages, timeout=timeout)


def pull_replies(grid: Grid, message_ids: Iterable[str]) -> Iterator[tuple[str, list[Message]]]:
    """Yield each reply that has come, with the identifier that was asked for.

    A grid that waits by itself hands over what comes next, and is asked for all messages at once. Any other hands over all
    that it has, and is asked for one message at a time, so that one reply is held.

    Parameters
    ----------
    grid : Grid
        The grid.
    message_ids : iterable of str
        Identifiers of messages that are not answered yet.

    Yields
    ------
    tuple of str and list of Message
        The identifier, and a list of the one reply: pop it, and drop it before asking for the next one, or two are held.
    """
    waits = grid.waits_for_replies if isinstance(grid, GridWrapper) else isinstance(grid, WaitingGrid)
    identifiers = list(message_ids)
    for asked in [identifiers] if waits else [[identifier] for identifier in identifiers]:
        found = list(grid.pull_messages(asked))[::-1]
        while found:
            yield (found[-1].metadata.reply_to_message_id if waits else asked[0]), [found.pop()]
