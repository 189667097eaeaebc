"""Size of a message to a site, counted while it is received: Flower's SuperNode takes all of it before anybody looks at it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree

_MOST_OBJECTS = 100_000  # Flower sends an array as one object and one more for each 5 MiB of it
DEFAULT_MEGABYTES = 4096  # a model of 100 million weights has 400, and an algorithm sends a few arrays for each weight

Receive = Callable[[], tuple[Message, Any] | None]
PullObject = Callable[[int, str], bytes]


class MessageTooLargeError(Exception):
    """A message has more objects, or more bytes, than the site takes."""


class MessageMeter:
    """The connection of a SuperNode for one message: it gives the message up once that is too large.

    Parameters
    ----------
    receive, pull_object : callable
        Flower's own, which get a message without its content, and the content of one object.
    limit : int
        Bytes that a message may have.
    """

    def __init__(self, receive: Receive, pull_object: PullObject, limit: int) -> None:
        self._receive, self._pull_object = receive, pull_object
        self._left = limit
        self._lock = threading.Lock()  # several objects are pulled at once
        self.message: Message | None = None
        self.is_too_large = False

    def receive(self) -> tuple[Message, Any] | None:
        """Receive a message without its content; raise MessageTooLargeError where it announces too many objects."""
        received = self._receive()
        if received is not None:
            self.message, tree = received
            announced = sum(1 for _ in itertools.islice(iterate_object_tree(tree), _MOST_OBJECTS + 1))
            if announced > _MOST_OBJECTS:
                self._give_up()
        return received

    def pull_object(self, run: int, identifier: str) -> bytes:
        """Return the content of an object; raise MessageTooLargeError where the message has more bytes than it may."""
        if self.is_too_large:  # another object was the last that fits
            self._give_up()
        content = self._pull_object(run, identifier)
        with self._lock:
            self._left -= len(content)
            if self._left < 0:
                self._give_up()
        return content

    def _give_up(self) -> None:
        self.is_too_large = True
        raise MessageTooLargeError(
            "the message is larger than this site takes: [federation] max-message-megabytes in site.toml"
        )
