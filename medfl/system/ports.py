"""Free ports of this machine."""

from __future__ import annotations

import contextlib
import random
import socket

_LOW, _HIGH = 20000, 32768  # below those that Linux gives to connections to the outside, one of which may hold it later
_ATTEMPTS = 1000


def find_free_port() -> int:
    """Return a port of loopback that is free now, and that no outgoing connection will take.

    Raises
    ------
    OSError
        When none is found.
    """
    for port in random.SystemRandom().sample(range(_LOW, _HIGH), _ATTEMPTS):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port of this machine is free")
