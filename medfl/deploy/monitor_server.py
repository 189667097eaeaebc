"""Addresses for an operator's monitoring, on loopback: ``/health`` and, in Prometheus' text format, ``/metrics``."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.listening import is_taken
from medfl.deploy.presence import SitePresence, list_presence
from medfl.deploy.server_metrics import ServerCollector, render_health, render_metrics
from medfl.deploy.superlink import is_superlink_up
from medfl.errors import DeployError

_PRESENCE_SECONDS = 30.0  # between two questions to Flower who is connected, each of which takes a second of work
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Monitor:
    """What is known of a running server.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    """

    def __init__(self, folder: FederationFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._presence: Mapping[str, SitePresence] = {}
        self._asked = -_PRESENCE_SECONDS

    def processes(self) -> dict[str, bool]:
        """Return whether each process of the server is up."""
        commands = list[str]()
        for child in psutil.Process(os.getpid()).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                commands.append(" ".join(child.cmdline()))
        return {
            "superlink": is_superlink_up(self._folder),
            "superexec": any("flower-superexec" in command for command in commands),
            "nginx": is_taken(self._folder.settings.proxy.listen),
        }

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, type and content for a path."""
        if path == "/health":
            processes = self.processes()
            return 200 if all(processes.values()) else 503, "application/json", render_health(processes)
        if path == "/metrics":
            return 200, _TEXT, render_metrics(ServerCollector(self._folder, self.processes(), self._read_presence()))
        return 404, "text/plain", b"/health or /metrics\n"

    def _read_presence(self) -> Mapping[str, SitePresence]:
        if time.monotonic() - self._asked >= _PRESENCE_SECONDS and self._lock.acquire(blocking=False):  # one asks at a time
            try:
                self._presence = list_presence(self._folder)
            except DeployError:  # the server is down, which medfl_up tells
                self._presence = {}
            finally:
                self._asked = time.monotonic()
                self._lock.release()
        return self._presence


@contextmanager
def monitored(folder: FederationFolder) -> Iterator[str]:
    """Serve the addresses while a server runs; yield the address, "" when the settings name none."""
    listen = folder.settings.monitor.listen
    if not listen:
        yield ""
        return
    monitor = Monitor(folder)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds; who says nothing holds no thread

        def do_GET(self) -> None:
            status, kind, content = monitor.answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: it is asked every few seconds."""

    host, _, port = listen.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, name="monitor").start()
    try:
        yield listen
    finally:
        server.shutdown()
        server.server_close()
