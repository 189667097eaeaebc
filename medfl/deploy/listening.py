"""Addresses and ports of this machine: whether this account can listen on them."""

from __future__ import annotations

import errno
import socket
import time

from medfl.errors import DeployError

_TIMEOUT = 3.0  # seconds, after which the processes of a killed server are gone


def require_free(address: str) -> None:
    """Check that this account may listen on an address, and that no other process does.

    Parameters
    ----------
    address : str
        host:port.

    Raises
    ------
    DeployError
        ``PORT-TAKEN``, ``PORT-DENIED``, or ``ADDRESS-FOREIGN`` when this machine has no such address.
    """
    deadline = time.monotonic() + _TIMEOUT
    while (failure := _bind_errno(address)) == errno.EADDRINUSE and time.monotonic() < deadline:
        time.sleep(0.2)
    if failure == errno.EADDRINUSE:
        fix = "End the program that uses it ('ss -ltnp' names it), or choose another port in federation.toml."
        raise DeployError("PORT-TAKEN", f"another program already listens on {address}.", fix)
    if failure == errno.EACCES:
        fix = "Ports below 1024 are reserved for root: choose a higher one, or run the server as a service (medfl server unit)."
        raise DeployError("PORT-DENIED", f"this account may not listen on {address}.", fix)
    if failure:
        fix = "Set 'listen' in [proxy] of federation.toml to an address of this machine, or 0.0.0.0 for all of them."
        raise DeployError("ADDRESS-FOREIGN", f"this machine cannot listen on {address}.", fix)


def is_taken(address: str) -> bool:
    """Return whether a process listens on an address."""
    return _bind_errno(address) == errno.EADDRINUSE


def _bind_errno(address: str) -> int:
    """Return the error number of binding to an address, 0 when it works."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0
