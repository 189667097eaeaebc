"""Grid that hands over each reply as it comes, so that a server holds one at a time instead of all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from flwr.app import Message

from medfl.grids.grid_wrapper import GridWrapper, pull_replies

_PAUSE_SHARE, _MIN_PAUSE, _MAX_PAUSE = 0.01, 0.01, 1.0  # between two polls: 10 ms plus 1% of the wait so far, at most 1 s


class StreamingGrid(GridWrapper):
    """A Grid whose `send_and_receive` is a generator.

    Parameters
    ----------
    grid : Grid
        The grid that is wrapped. Unless it is a `WaitingGrid`, some time passes between two calls of its `pull_messages`.

    Examples
    --------
    Any Flower strategy whose ``aggregate_train`` takes the replies one by one can use it::

        strategy.start(StreamingGrid(grid), initial_arrays)
    """

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Send messages at once, and yield each reply as it comes.

        Parameters
        ----------
        messages : iterable of Message
            What to send.
        timeout : float, optional
            Seconds to wait at most; replies that are there at that moment are still handed over.

        Yields
        ------
        Message
            A reply. Drop it before asking for the next one, or two are held.
        """
        # Grids go over the messages more than once, hence the list
        return self.receive(self._grid.push_messages(list(messages)), timeout=timeout)

    def receive(self, message_ids: Iterable[str], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield the replies to messages that were sent before, as `send_and_receive` does.

        Parameters
        ----------
        message_ids : iterable of str
            Identifiers as `push_messages` returned them.
        timeout : float, optional
            Seconds to wait at most.
        """
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        return self._iter_replies(dict.fromkeys(filter(None, message_ids)), end)

    def _iter_replies(self, pending: dict[str, None], end: float) -> Iterator[Message]:
        idle_since = time.monotonic()
        while pending:
            is_last_poll = time.monotonic() >= end
            waiting = len(pending)
            for identifier, found in pull_replies(self._grid, pending):
                pending.pop(identifier, None)
                yield found.pop()  # popped, so that this frame keeps no reply alive
            if is_last_poll:
                yield from self.take_failures(list(pending))
                return
            if len(pending) < waiting:
                idle_since = time.monotonic()
                continue
            now = time.monotonic()
            if not self.waits_for_replies:
                time.sleep(max(0.0, min(_MIN_PAUSE + _PAUSE_SHARE * (now - idle_since), _MAX_PAUSE, end - now)))
