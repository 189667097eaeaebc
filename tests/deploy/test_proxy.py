"""Proxy of a federation's server: a real nginx in front of a fake of Flower's server that would answer anything."""

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
from tests.deploy.local_server import make_federation, needs_nginx, nginx_of, wait_for

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


class EchoHandler(BaseHTTPRequestHandler):
    """Answers every request with its path and the length of its body, or with the host that it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        length, received = int(self.headers.get("Content-Length", 0)), 0
        while received < length:
            received += len(self.rfile.read(min(1 << 20, length - received)))
        answer = (self.headers["Host"] if self.path.endswith("/host") else f"{self.path} {received}").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Setup:
    """A federation, a fake server, and the configuration of the proxy in front of it."""

    folder: FederationFolder
    config: ProxyConfig
    home: Path

    @property
    def port(self) -> int:
        """Return the published port."""
        return int(self.config.listen.rpartition(":")[2])

    def request(self, path: str, body: bytes = b"", method: str = "POST", site: str = "", host: str = "") -> tuple[int, str]:
        """Send a request through the proxy, optionally with a site's certificate."""
        context = ssl.create_default_context(cafile=self.folder.ca_certificate)
        if site:
            private = load_ssh_private_key((self.home / f"{site}.key").read_bytes(), None)
            pem = self.home / f"{site}.pem"
            pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            context.load_cert_chain(self.home / f"{site}.crt", pem)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        try:
            connection.request(method, path, body, {"Host": host} if host else {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@contextmanager
def upstream(certificate: Path, key: Path) -> Iterator[int]:
    """Serve anything over TLS on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), EchoHandler)
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
def setup() -> Iterator[Setup]:
    """Return a federation with two sites and its proxy's configuration, in a folder whose name needs quoting."""
    with tempfile.TemporaryDirectory(prefix="a federation's ") as home:
        folder = make_federation(Path(home), ("hospital-1", "hospital-2"))
        with upstream(folder.server_certificate, folder.server_key) as port:
            config = ProxyConfig(
                folder=folder.path / "proxy",
                listen=f"127.0.0.1:{find_free_port()}",
                upstream=port,
                certificate=folder.server_certificate,
                key=folder.server_key,
                ca=folder.ca_certificate,
            )
            yield Setup(folder, config, Path(home))


@pytest.fixture(params=["this account", "nobody"])
def account(request: pytest.FixtureRequest, setup: Setup) -> tuple[str, ...]:
    """Return the command prefix that runs nginx as this account, and as one without any rights."""
    if request.param == "this account":
        return ()
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root may become another account")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(setup.home)], check=True)
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
def test_only_the_hospitals_part_of_the_api_is_published(setup: Setup, account: tuple[str, ...]) -> None:
    with nginx_of(write_config(setup.config), setup.port, account):
        assert setup.request("/v1/fleet/pull-messages", b"four") == (200, "/v1/fleet/pull-messages 4")
        answers = {
            path: {setup.request(path, method=method)[0] for method in ("POST", "GET", "PUT", "DELETE")} for path in CLOSED
        }
    assert {path: got for path, got in answers.items() if not got <= {301, 400, 403, 404}} == {}


@needs_nginx
def test_a_model_passes_in_pieces_or_whole(setup: Setup, account: tuple[str, ...]) -> None:
    with nginx_of(write_config(setup.config), setup.port, account):
        for megabytes in (6, 64):
            answer = setup.request("/v1/fleet/push-object", b"\0" * (megabytes << 20))
            assert answer == (200, f"/v1/fleet/push-object {megabytes << 20}")
    assert "error" not in (setup.config.folder / "test.log").read_text()


@needs_nginx
@pytest.mark.parametrize("host", ["other.example", "x?", "x#", "x/v1/control", "localhost:1"])
def test_flower_reads_no_host_that_a_caller_made_up(host: str, setup: Setup) -> None:
    with nginx_of(write_config(setup.config), setup.port):
        code, answer = setup.request("/v1/fleet/host", host=host)
    assert code == 400 or answer == "localhost"


@needs_nginx
def test_a_body_above_the_limit_is_refused(setup: Setup) -> None:
    with nginx_of(write_config(replace(setup.config, max_body_megabytes=1)), setup.port):
        assert setup.request("/v1/fleet/push-object", b"\0" * 100_000)[0] == 200
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # nginx hangs up while the body is still being sent
            assert setup.request("/v1/fleet/push-object", b"\0" * (2 << 20))[0] == 413


@needs_nginx
def test_a_caller_without_a_valid_certificate_is_refused_when_certificates_are_required(setup: Setup) -> None:
    config = replace(setup.config, crl=setup.folder.crl)
    with nginx_of(write_config(config), setup.port) as nginx:
        assert setup.request("/v1/fleet/pull-messages")[0] == 400
        assert setup.request("/v1/fleet/pull-messages", site="hospital-1")[0] == 200
        assert setup.request("/v1/control/list-runs", site="hospital-1")[0] == 404
        site_registry.revoke(setup.folder, "hospital-1")
        nginx.send_signal(signal.SIGHUP)
        wait_for(lambda: setup.request("/v1/fleet/pull-messages", site="hospital-1")[0] == 400)
        assert setup.request("/v1/fleet/pull-messages", site="hospital-2")[0] == 200


@needs_nginx
def test_nothing_is_passed_to_another_program_on_the_port_of_flowers_server(setup: Setup, tmp_path: Path) -> None:
    ca_file, key, certificate, own = (tmp_path / name for name in ("ca.crt", "ca.key", "other.crt", "other.key"))
    ca.create_ca(ca_file, key, "another")
    ca.issue_server_certificate(ca_file, key, certificate, own, "localhost:1")
    with upstream(certificate, own) as port, nginx_of(write_config(replace(setup.config, upstream=port)), setup.port):
        assert setup.request("/v1/fleet/pull-messages", b"secret")[0] == 502


@needs_nginx
def test_bodies_are_not_stored(setup: Setup) -> None:
    canary = b"CANARY-OF-A-BODY" * 100_000
    with nginx_of(write_config(setup.config), setup.port):
        assert setup.request("/v1/fleet/push-object", canary)[0] == 200
        stored = [p for p in setup.config.folder.rglob("*") if p.is_file() and b"CANARY" in p.read_bytes()]
    assert stored == []


def test_a_missing_nginx_is_reported_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "_SEARCH_PATH", "")
    with pytest.raises(DeployError, match=r"\[NGINX-MISSING\].*apt-get install nginx-light"):
        proxy.nginx_command(Path("nginx.conf"))
