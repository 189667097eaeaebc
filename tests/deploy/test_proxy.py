"""The door to a federation's server: a real nginx in front of a stand-in for Flower's server that would answer anything."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key

from medfl.deploy import ca, proxy, site_registry
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.proxy import ProxyConfig, write_config
from medfl.errors import DeployError
from medfl.system.ports import find_free_port
from tests.deploy.serving import make_federation, needs_nginx, nginx_of, wait_for

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


class Anything(BaseHTTPRequestHandler):
    """Answers every request with its path and the length of its body, or with the host that it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        length, left = int(self.headers.get("Content-Length", 0)), 0
        while left < length:
            left += len(self.rfile.read(min(1 << 20, length - left)))
        told = (self.headers["Host"] if self.path.endswith("/host") else f"{self.path} {left}").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Stand:
    """A federation, what stands behind its door, and the door."""

    folder: FederationFolder
    door: ProxyConfig
    home: Path

    @property
    def port(self) -> int:
        """Return the published port."""
        return int(self.door.listen.rpartition(":")[2])

    def ask(self, path: str, body: bytes = b"", method: str = "POST", site: str = "", host: str = "") -> tuple[int, str]:
        """Ask the door something, as it is written, perhaps showing a site's certificate."""
        context = ssl.create_default_context(cafile=self.folder.ca_certificate)
        if site:
            private = load_ssh_private_key((self.home / f"{site}.key").read_bytes(), None)
            pem = self.home / f"{site}.pem"
            pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            context.load_cert_chain(self.home / f"{site}.crt", pem)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        try:
            connection.request(method, path, body, {"Host": host} if host else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def upstream(certificate: Path, key: Path) -> Iterator[int]:
    """Serve anything over TLS on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Anything)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def stand() -> Iterator[Stand]:
    """Give a federation with two sites and what its door would be, in a folder whose name needs quotes."""
    with tempfile.TemporaryDirectory(prefix="a federation's ") as home:
        folder = make_federation(Path(home), ("hospital-1", "hospital-2"))
        with upstream(folder.server_certificate, folder.server_key) as port:
            door = ProxyConfig(
                folder=folder.path / "proxy",
                listen=f"127.0.0.1:{find_free_port()}",
                upstream=port,
                certificate=folder.server_certificate,
                key=folder.server_key,
                ca=folder.ca_certificate,
            )
            yield Stand(folder, door, Path(home))


@pytest.fixture(params=["this account", "nobody"])
def account(request: pytest.FixtureRequest, stand: Stand) -> tuple[str, ...]:
    """Give the words that run nginx as this account, and as one without any rights."""
    if request.param == "this account":
        return ()
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root may become another account")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(stand.home)], check=True)
    return AS_NOBODY


CLOSED = (
    "/v1/control/list-runs",
    "/v1/runtime/acquire-task",
    "/docs",
    "/openapi.json",
    "/health",
    "/",
    "/v1/fleet",
    "/v1/fleet/register-node",
    "/v1/fleet/register-node/",
    "/v1/fleet/unregister-node",
    "/v1/fleet/%72egister-node",
    "/v1/fleet//register-node",
    "/v1/fleet/./register-node",
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/v1/fleet/..%2fcontrol/list-runs",
    "//v1/control/list-runs",
    "/V1/CONTROL/list-runs",
)


@needs_nginx
def test_only_the_part_of_hospitals_is_published(stand: Stand, account: tuple[str, ...]) -> None:
    with nginx_of(write_config(stand.door), stand.port, account):
        assert stand.ask("/v1/fleet/pull-messages", b"four") == (200, "/v1/fleet/pull-messages 4")
        answers = {path: {stand.ask(path, method=method)[0] for method in ("POST", "GET", "PUT", "DELETE")} for path in CLOSED}
    assert {path: got for path, got in answers.items() if not got <= {301, 400, 403, 404}} == {}


@needs_nginx
def test_a_model_passes_in_pieces_or_whole(stand: Stand, account: tuple[str, ...]) -> None:
    with nginx_of(write_config(stand.door), stand.port, account):
        for megabytes in (6, 64):
            told = stand.ask("/v1/fleet/push-object", b"\0" * (megabytes << 20))
            assert told == (200, f"/v1/fleet/push-object {megabytes << 20}")
    assert "error" not in (stand.door.folder / "test.log").read_text()


@needs_nginx
@pytest.mark.parametrize("host", ["other.example", "x?", "x#", "x/v1/control", "localhost:1"])
def test_flower_reads_no_host_that_a_caller_made_up(host: str, stand: Stand) -> None:
    with nginx_of(write_config(stand.door), stand.port):
        code, told = stand.ask("/v1/fleet/host", host=host)
    assert code == 400 or told == "localhost"


@needs_nginx
def test_more_than_the_operator_allows_does_not_pass(stand: Stand) -> None:
    with nginx_of(write_config(replace(stand.door, max_body_megabytes=1)), stand.port):
        assert stand.ask("/v1/fleet/push-object", b"\0" * 100_000)[0] == 200
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # nginx hangs up while the body is still being sent
            assert stand.ask("/v1/fleet/push-object", b"\0" * (2 << 20))[0] == 413


@needs_nginx
def test_who_shows_no_certificate_of_the_federation_is_refused_when_it_asks(stand: Stand) -> None:
    door = replace(stand.door, crl=stand.folder.crl)
    with nginx_of(write_config(door), stand.port) as nginx:
        assert stand.ask("/v1/fleet/pull-messages")[0] == 400
        assert stand.ask("/v1/fleet/pull-messages", site="hospital-1")[0] == 200
        assert stand.ask("/v1/control/list-runs", site="hospital-1")[0] == 404
        site_registry.revoke(stand.folder, "hospital-1")
        nginx.send_signal(signal.SIGHUP)
        wait_for(lambda: stand.ask("/v1/fleet/pull-messages", site="hospital-1")[0] == 400)
        assert stand.ask("/v1/fleet/pull-messages", site="hospital-2")[0] == 200


@needs_nginx
def test_nothing_is_passed_to_another_program_on_the_port_of_flowers_server(stand: Stand, tmp_path: Path) -> None:
    ca_file, key, certificate, own = (tmp_path / name for name in ("ca.crt", "ca.key", "other.crt", "other.key"))
    ca.create_ca(ca_file, key, "another")
    ca.issue_server_certificate(ca_file, key, certificate, own, "localhost:1")
    with upstream(certificate, own) as port, nginx_of(write_config(replace(stand.door, upstream=port)), stand.port):
        assert stand.ask("/v1/fleet/pull-messages", b"secret")[0] == 502


@needs_nginx
def test_bodies_are_not_kept(stand: Stand) -> None:
    canary = b"CANARY-OF-A-BODY" * 100_000
    with nginx_of(write_config(stand.door), stand.port):
        assert stand.ask("/v1/fleet/push-object", canary)[0] == 200
        kept = [p for p in stand.door.folder.rglob("*") if p.is_file() and b"CANARY" in p.read_bytes()]
    assert kept == []


def test_without_nginx_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "_SEARCH_PATH", "")
    with pytest.raises(DeployError, match=r"\[NGINX-MISSING\].*apt-get install nginx-light"):
        proxy.nginx_command(Path("nginx.conf"))
