"""Connections of a running site: what it asks the server besides the exchanges; and a site is up only once."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key
from flwr.supercore.protobuf.client import ProtobufClient

from medfl.deploy import site_processes
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.supervisor import Child
from medfl.errors import DeployError
from medfl.flower.tasks import NodeTasks, ServerLink, use_client_certificate
from medfl.site import init_site
from medfl.site.federation_settings import SiteFederation
from medfl.system.locks import take_lock
from tests.deploy.local_server import make_federation


class FakeProxy(BaseHTTPRequestHandler):
    """Gives a prepared answer, and records whether the caller showed a certificate."""

    code, body = 400, b"<html>400 No required SSL certificate was sent</html>"
    has_certificate: ClassVar[list[bool]] = []

    def do_POST(self) -> None:
        """Answer."""
        peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        self.has_certificate.append(bool(peer))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


pytestmark = pytest.mark.filterwarnings("ignore:`verify=<str>` is deprecated")  # Flower's way to name a certificate


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    return make_federation(tmp_path, ("hospital-1",))


@pytest.fixture
def proxy(folder: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(FakeProxy, "has_certificate", [])
    server = HTTPServer(("127.0.0.1", 0), FakeProxy)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder.ca_certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(folder.server_certificate, folder.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def server_link(folder: FederationFolder, address: str) -> ServerLink:
    return ServerLink(address, folder.ca_certificate, folder.path.parent / "hospital-1.key")


@pytest.mark.parametrize(("code", "body"), [(400, b"<html>"), (200, b"\xff none"), (502, b"{}"), (403, b'{"code": "x"}')])
def test_an_answer_that_is_not_flowers_ends_no_run(
    code: int, body: bytes, folder: FederationFolder, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProxy, "code", code)
    monkeypatch.setattr(FakeProxy, "body", body)
    assert server_link(folder, proxy).is_over(7, 5) is False
    assert FakeProxy.has_certificate


def test_a_site_shows_its_certificate_to_the_server(
    folder: FederationFolder, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProtobufClient, "__init__", ProtobufClient.__init__)  # put back afterwards
    private = load_ssh_private_key((tmp_path / "hospital-1.key").read_bytes(), None)
    (tmp_path / "pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server_link(folder, proxy).is_over(7, 5)
    use_client_certificate(tmp_path / "hospital-1.crt", tmp_path / "pem")
    server_link(folder, proxy).is_over(7, 5)
    assert FakeProxy.has_certificate == [False, True]


def test_a_worker_with_the_secret_of_another_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeProxy, "code", 401)
    server = HTTPServer(("127.0.0.1", 0), FakeProxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(DeployError, match="NODE-FOREIGN"):
            NodeTasks(f"127.0.0.1:{server.server_address[1]}", b"x" * 32).acquire()
    finally:
        server.shutdown()
        server.server_close()


def test_a_site_is_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = init_site(tmp_path / "site", "hospital-a", ".")
    monkeypatch.setattr(site_processes, "require_ready", lambda site: None)
    state_folder = file.parent / ".medfl"
    state_folder.mkdir()
    (state_folder / "superexec.secret").write_bytes(b"of the first")
    with (state_folder / "up.lock").open("a") as lock:
        assert take_lock(lock)
        with pytest.raises(DeployError, match="SITE-BUSY"):
            site_processes.site_up(file.parent, print)
    assert (state_folder / "superexec.secret").read_bytes() == b"of the first"


def test_what_the_processes_of_a_site_write_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies, caches and logs are written by many hands, Flower's among them, which leave the mode to the system's default."""
    file = init_site(tmp_path / "site", "hospital-a", ".")
    written = tmp_path / "written"

    def supervise(children: list[Child], notify: Callable[[str], None], **_: object) -> int:
        write = f"import pathlib; p = pathlib.Path({str(written)!r}); p.mkdir(); (p / 'file').write_text('x')"
        return subprocess.run([sys.executable, "-c", write], check=True).returncode

    monkeypatch.setattr(site_processes, "require_ready", lambda site: None)
    monkeypatch.setattr(site_processes, "require_federation", lambda site: SiteFederation(server="127.0.0.1:1"))
    monkeypatch.setattr(site_processes, "supervise", supervise)
    before = os.umask(0o022)
    try:
        site_processes.site_up(file.parent, print)
    finally:
        after = os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (written, written / "file")] == [0o700, 0o600]
    assert [path for path in (file.parent / ".medfl").rglob("*") if path.stat().st_mode & 0o077] == []
    assert after == 0o022
