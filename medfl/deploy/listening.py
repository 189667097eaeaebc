"""Whether this machine's addresses and ports are free to be listened on."""

from __future__ import annotations

import errno
import socket
import time

from medfl.errors import DeployError

_TIMEOUT = 3.0  # seconds: the processes of a server that was killed are gone by then


def require_free(address: str) -> None:
    """Check that this account may listen on an address, and nobody else does.

    Parameters
    ----------
    address : str
        host:port.

    Raises
    ------
    DeployError
        ``PORT-TAKEN``, ``PORT-DENIED``, or ``ADDRESS-FOREIGN`` when this machine has no such address.
    """
    end = time.monotonic() + _TIMEOUT
    while (why := _bind_errno(address)) == errno.EADDRINUSE and time.monotonic() < end:
        time.sleep(0.2)
    if why == errno.EADDRINUSE:
        fix = "End the program that uses it ('ss -ltnp' names it), or choose another port in federation.toml."
        raise DeployError("PORT-TAKEN", f"something else listens on {address} already.", fix)
    if why == errno.EACCES:
        fix = "Ports below 1024 are root's: take a higher one, or start it through its unit (medfl server unit)."
        raise DeployError("PORT-DENIED", f"this account may not listen on {address}.", fix)
    if why:
        fix = "Set 'listen' in [proxy] of federation.toml to an address of this machine, or 0.0.0.0 for all of them."
        raise DeployError("ADDRESS-FOREIGN", f"this machine cannot listen on {address}.", fix)


def is_taken(address: str) -> bool:
    """Tell whether a process listens on an address."""
    return _bind_errno(address) == errno.EADDRINUSE


def _bind_errno(address: str) -> int:
    """Return why an address cannot be listened on, 0 when it can."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0
