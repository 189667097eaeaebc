"""Server of a federation for tests: its folder with enrolled sites, and real processes on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from medfl.deploy import site_registry
from medfl.deploy.federation_folder import FEDERATION_FILE, FederationFolder, init_federation, open_federation
from medfl.deploy.identity import make_key, read_request, write_request
from medfl.deploy.proxy import nginx_command
from medfl.system.ports import find_free_port

HAS_NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None
needs_nginx = pytest.mark.skipif(not HAS_NGINX, reason="needs nginx")


def wait_for(condition: Callable[[], bool], within: float = 180.0) -> None:
    """Wait until a condition holds; fail after a while."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.1)


def make_federation(folder: Path, sites: Sequence[str] = (), *, asks_for_certificates: bool = False) -> FederationFolder:
    """Create a federation that listens on loopback only, and enrol sites with the keys ``folder/NAME.key``."""
    address = f"127.0.0.1:{find_free_port()}"
    federation = init_federation(folder / "federation", "test", address, address)
    if not asks_for_certificates:  # so that a test can see what Flower itself refuses
        settings = federation.path / FEDERATION_FILE
        settings.write_text(settings.read_text().replace("client-certificates = true", "client-certificates = false"))
        federation = open_federation(federation.path)
    for name in sites:
        make_key(folder / f"{name}.key")
        request = folder / f"{name}.request.json"
        write_request(folder / f"{name}.key", name, request)
        _, certificate = site_registry.enrol(federation, read_request(request))
        (folder / f"{name}.crt").write_bytes(certificate)
    return federation


@dataclass
class Server:
    """A server that is running in a process of its own.

    Parameters
    ----------
    process : Popen
        ``medfl server up``.
    lines : list of str
        Lines that it has printed so far.
    """

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def has_printed(self, text: str) -> bool:
        """Return whether a line with this text was printed."""
        return any(text in line for line in self.lines)

    def processes(self) -> dict[str, psutil.Process]:
        """Return its working processes by name: superlink, superexec, nginx."""
        found = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command = " ".join(process.cmdline())
            except psutil.Error:  # it has just ended
                continue
            for name, mark in (
                ("superlink", "flower-superlink"),
                ("superexec", "flower-superexec"),
                ("nginx", "nginx: master"),
            ):
                if mark in command and "medfl.system.parent_watch" not in command:
                    found[name] = process
        return found

    def all_processes(self) -> list[psutil.Process]:
        """Return every process that was started for it."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def server_of(folder: FederationFolder) -> Iterator[Server]:
    """Run the server of a federation until the end of the block."""
    start = [sys.executable, "-m", "medfl", "server", "up", str(folder.path)]
    process = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    server = Server(process)

    def read_lines() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.lines.append(line.rstrip("\n"))

    reader = threading.Thread(target=read_lines, daemon=True)
    reader.start()
    try:
        wait_for(lambda: server.has_printed("runs and logs") or process.poll() is not None)
        assert process.poll() is None, "\n".join(server.lines)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def nginx_of(configuration: Path, port: int, account: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx alone with a configuration, optionally as another account."""
    log = configuration.with_name("test.log")
    log.touch(mode=0o666)
    log.chmod(0o666)
    with log.open("ab") as output:
        process = subprocess.Popen([*account, *nginx_command(configuration)], stdout=output, stderr=output)
    try:
        wait_for(lambda: process.poll() is not None or _answers(port))
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
