"""A site's connection to the server: what passes is tried again, what only people can change is not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.supercore.retry import RetryInvoker
from flwr.supercore.retry.http_retry import make_simple_http_retry_invoker
from flwr.supernode.fleet_http_client import FleetHttpClient

from medfl.deploy.ca import create_ca, issue_server_certificate
from medfl.deploy.site_state import server_pulse
from medfl.flower.lasting_connection import _signing_client, make_lasting_retries
from medfl.site import Site
from tests.deploy.middle_box import MiddleBox, Mode, middle_box, relay


class EmptyAnswers(BaseHTTPRequestHandler):
    """The server's part: nothing is there to be worked on."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Way:
    """The way from a site to the server: the authority that the site trusts, and the box between them."""

    ca: Path
    box: MiddleBox

    def client(self, kind: type[FleetHttpClient] = FleetHttpClient, ca: Path | None = None) -> FleetHttpClient:
        return kind.from_server_address(self.box.address, False, (ca or self.ca).read_bytes(), ())


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make two authorities, and a certificate of the server from the first."""
    folder = tmp_path_factory.mktemp("ca")
    for name in ("ca", "other"):
        create_ca(folder / f"{name}.crt", folder / f"{name}.key", name)
    certificate, key = folder / "server.crt", folder / "server.key"
    issue_server_certificate(folder / "ca.crt", folder / "ca.key", certificate, key, "127.0.0.1:1")
    return folder / "ca.crt", folder / "other.crt"


@pytest.fixture
def way(authorities: tuple[Path, Path]) -> Iterator[Way]:
    ca, _ = authorities
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyAnswers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.with_name("server.crt"), ca.with_name("server.key"))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with middle_box(server.server_port) as box:
        yield Way(ca, box)
    server.shutdown()
    server.server_close()


def ask(retries: RetryInvoker, client: FleetHttpClient) -> int:
    """Look for a message as the SuperNode does; return how often it had to wait."""
    waits: list[float] = []
    retries.wait_function = waits.append
    with client:
        retries.invoke(client.PullMessages, PullMessagesRequest())
    return len(waits)


@pytest.mark.parametrize("mode", ["shut", "cut"])
def test_a_handshake_that_is_cut_is_tried_again(way: Way, mode: Mode) -> None:
    """One of these used to take a hospital offline for good: its process lived on, and nobody was told."""
    way.box.mode = mode
    with pytest.raises(httpx.TransportError), way.client() as client:
        client.PullMessages(PullMessagesRequest())
    retries = make_lasting_retries()
    retries.wait_function = lambda _: setattr(way.box, "mode", "pass") if way.box.refused >= 3 else None
    with way.client() as client:
        retries.invoke(client.PullMessages, PullMessagesRequest())
    assert way.box.refused >= 3


def test_flower_gives_a_cut_handshake_up(way: Way) -> None:
    """Once it no longer does, `make_lasting_retries` can go."""
    way.box.mode = "shut"
    with pytest.raises(httpx.ConnectError):
        ask(make_simple_http_retry_invoker(), way.client())


def test_a_certificate_of_another_authority_is_not_tried_again(way: Way, authorities: tuple[Path, Path]) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(make_lasting_retries(), way.client(ca=authorities[1]))


def test_an_answer_of_the_server_is_a_sign_of_life_and_a_failure_is_none(way: Way, tmp_path: Path) -> None:
    sign = tmp_path / "answered"
    with way.client(_signing_client(sign)) as client:
        way.box.mode = "shut"
        with pytest.raises(httpx.ConnectError):
            client.PullMessages(PullMessagesRequest())
        assert not sign.exists()
        way.box.mode = "pass"
        client.PullMessages(PullMessagesRequest())
        assert time.time() - sign.stat().st_mtime < 60
        assert sign.stat().st_mode & 0o777 == 0o600


def test_a_supernode_that_tries_leaves_a_sign_and_its_heartbeat_alone_does_not(way: Way, tmp_path: Path) -> None:
    sign, site = tmp_path / "answered", Site(name="north", folder=tmp_path)
    tried = server_pulse(site).activity
    assert tried is not None
    way.box.mode = "shut"
    with way.client(_signing_client(sign)) as client:
        with pytest.raises(httpx.ConnectError):
            client.SendNodeHeartbeat(SendNodeHeartbeatRequest())
        assert not (tmp_path / tried.name).exists()
        with pytest.raises(httpx.ConnectError):
            client.PullMessages(PullMessagesRequest())
        assert (tmp_path / tried.name).exists()


def test_a_full_disk_does_not_cost_an_answer(way: Way, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with way.client(_signing_client(tmp_path / "file" / "no folder")) as client:
        client.PullMessages(PullMessagesRequest())


@contextmanager
def web_proxy() -> Iterator[tuple[str, list[str]]]:
    """Run a web proxy as hospitals have it: it opens a tunnel to any address that it is asked for, and notes which."""
    asked: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(caller: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += caller.recv(1000)
        asked.append(head.split()[1].decode())
        host, _, port = asked[-1].rpartition(":")
        server = socket.create_connection((host, int(port)))
        caller.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=relay, args=(caller, server), daemon=True).start()
        relay(server, caller)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.close()


def test_a_web_proxy_of_the_hospital_is_used_where_the_environment_names_one(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_proxy() as (address, asked):
        monkeypatch.setenv("HTTPS_PROXY", address)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with way.client() as client:
            client.PullMessages(PullMessagesRequest())
        assert asked == [way.box.address]
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with way.client() as client:
            client.PullMessages(PullMessagesRequest())
        assert len(asked) == 1
