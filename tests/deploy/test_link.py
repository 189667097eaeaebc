"""What a running site asks the server beside the exchanges, and that it is up only once."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key
from flwr.supercore.protobuf.client import ProtobufClient

from medfl.deploy import site_processes as running
from medfl.deploy.federation_folder import FederationFolder
from medfl.errors import DeployError
from medfl.flower.tasks import NodeTasks, ServerLink, use_client_certificate
from medfl.site import init_site
from medfl.system.locks import take_lock
from tests.deploy.serving import make_federation


class Door(BaseHTTPRequestHandler):
    """Answers as it is told to, and notes who showed a certificate."""

    code, body = 400, b"<html>400 No required SSL certificate was sent</html>"
    shown: ClassVar[list[bool]] = []

    def do_POST(self) -> None:
        """Answer."""
        peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        self.shown.append(bool(peer))
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
def door(folder: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Door, "shown", [])
    server = HTTPServer(("127.0.0.1", 0), Door)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder.ca_certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(folder.server_certificate, folder.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def link(folder: FederationFolder, address: str) -> ServerLink:
    return ServerLink(address, folder.ca_certificate, folder.path.parent / "hospital-1.key")


@pytest.mark.parametrize(("code", "body"), [(400, b"<html>"), (200, b"\xff none"), (502, b"{}"), (403, b'{"code": "x"}')])
def test_whatever_answers_in_place_of_flower_ends_no_run(
    code: int, body: bytes, folder: FederationFolder, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Door, "code", code)
    monkeypatch.setattr(Door, "body", body)
    assert link(folder, door).is_over(7, 5) is False
    assert Door.shown


def test_a_site_shows_its_certificate_when_it_asks(
    folder: FederationFolder, door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProtobufClient, "__init__", ProtobufClient.__init__)  # put back afterwards
    private = load_ssh_private_key((tmp_path / "hospital-1.key").read_bytes(), None)
    (tmp_path / "pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    link(folder, door).is_over(7, 5)
    use_client_certificate(tmp_path / "hospital-1.crt", tmp_path / "pem")
    link(folder, door).is_over(7, 5)
    assert Door.shown == [False, True]


def test_a_worker_with_the_secret_of_another_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "code", 401)
    server = HTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(DeployError, match="NODE-FOREIGN"):
            NodeTasks(f"127.0.0.1:{server.server_address[1]}", b"x" * 32).acquire()
    finally:
        server.shutdown()
        server.server_close()


def test_a_site_is_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = init_site(tmp_path / "site", "hospital-a", ".")
    monkeypatch.setattr(running, "require_ready", lambda site: None)
    own = file.parent / ".medfl"
    own.mkdir()
    (own / "superexec.secret").write_bytes(b"of the first")
    with (own / "up.lock").open("a") as lock:
        assert take_lock(lock)
        with pytest.raises(DeployError, match="SITE-BUSY"):
            running.site_up(file.parent, print)
    assert (own / "superexec.secret").read_bytes() == b"of the first"
