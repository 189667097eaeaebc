"""A middle box between hospitals and the server, such as a firewall, which does to connections what it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Mode = Literal["pass", "shut", "cut", "silent"]

_BLOCK = 65536  # bytes
_CUT_AFTER = 600  # bytes to the caller: in the middle of a handshake


class MiddleBox:
    """A relay on loopback.

    Parameters
    ----------
    port : int
        Port of the server.

    Attributes
    ----------
    mode : str
        What happens to a connection that comes now: it "pass"es, its handshake is "shut" with a clean end, it is "cut" in the
        middle, or nobody answers it: "silent".
    address : str
        host:port to connect to.
    refused : int
        Connections that did not pass.
    """

    def __init__(self, port: int) -> None:
        self.mode: Mode = "pass"
        self.refused = 0
        self._port, self._open = port, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def drop_all(self) -> None:
        """End the connections that are open."""
        while self._open:
            _end(self._open.pop())

    def close(self) -> None:
        """Stop listening, and end every connection."""
        _end(self._listener)
        self.drop_all()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self._open.append(caller)
                threading.Thread(target=self._serve, args=(caller, self.mode), daemon=True).start()

    def _serve(self, caller: socket.socket, mode: Mode) -> None:
        self.refused += mode != "pass"
        with contextlib.suppress(OSError):
            if mode == "silent":
                return  # it stays open
            if mode == "shut":
                caller.recv(_BLOCK)
                caller.close()
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            self._open.append(server)
            threading.Thread(target=relay, args=(caller, server), daemon=True).start()
            relay(server, caller, _CUT_AFTER if mode == "cut" else None)


@contextmanager
def middle_box(port: int) -> Iterator[MiddleBox]:
    """Run a middle box before a port of loopback."""
    box = MiddleBox(port)
    try:
        yield box
    finally:
        box.close()


def relay(source: socket.socket, target: socket.socket, most: int | None = None) -> None:
    """Pass bytes on until one side ends, or so many have passed; then end both."""
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(_BLOCK):
            if most is not None and passed + len(data) > most:
                target.sendall(data[: most - passed])
                break
            target.sendall(data)
            passed += len(data)
    _end(source)
    _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
