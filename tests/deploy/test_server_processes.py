"""`medfl server up` and `down`, with Flower's own processes and nginx on loopback."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER

from medfl.deploy import ca, proxy, site_registry
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import load_key, make_key
from medfl.deploy.server_processes import server_down, server_up
from medfl.deploy.superlink import CONNECTION, run_flwr
from medfl.errors import DeployError
from medfl.system.ports import find_free_port
from tests.deploy.local_server import Server, make_federation, needs_nginx, server_of, wait_for
from tests.deploy.middle_box import Mode, middle_box

pytestmark = needs_nginx


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    folder = make_federation(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(folder.settings.proxy.listen.rpartition(":")[2])))
        other.listen()
        with pytest.raises(DeployError, match=rf"\[PORT-TAKEN\].*{folder.settings.proxy.listen}"):
            server_up(folder.path, print)


def test_an_address_of_another_machine_is_reported_as_one(tmp_path: Path) -> None:
    folder = make_federation(tmp_path)
    settings = folder.path / "federation.toml"
    settings.write_text(settings.read_text().replace(f'listen = "{folder.settings.proxy.listen}"', 'listen = "192.0.2.1:4443"'))
    with pytest.raises(DeployError, match=r"\[ADDRESS-FOREIGN\].*192\.0\.2\.1:4443"):
        server_up(folder.path, print)


@pytest.mark.parametrize("days", [-1, None], ids=["expired", "missing"])
def test_without_a_valid_certificate_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int | None
) -> None:
    folder = make_federation(tmp_path)
    if days is None:
        folder.server_certificate.unlink()
    else:
        monkeypatch.setattr(ca, "SERVER_DAYS", days)
        monkeypatch.setattr(ca, "_CLOCK_TOLERANCE", timedelta(days=9))
        paths = (folder.ca_certificate, folder.ca_key, folder.server_certificate, folder.server_key)
        ca.issue_server_certificate(*paths, folder.settings.address)
    with pytest.raises(DeployError, match=r"\[CERTIFICATE\].*medfl server renew --server"):
        server_up(folder.path, print)


def test_a_server_that_is_not_running_is_not_stopped(tmp_path: Path) -> None:
    assert not server_down(make_federation(tmp_path).path)


# The tests from here on share one server, and leave it as it was.


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the federation and the keys of its sites."""
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def folder(home: Path) -> FederationFolder:
    """Return a federation with two sites."""
    return make_federation(home, ("hospital-1", "hospital-2"))


@pytest.fixture(scope="module")
def server(folder: FederationFolder) -> Iterator[Server]:
    """Return its running server."""
    with server_of(folder) as running:
        yield running


def node_of(folder: FederationFolder, site: str) -> int:
    """Return Flower's node id of a site that may take part."""
    return int(json.loads((folder.path / "superlink" / "nodes.json").read_bytes())[site]["node"])


def request_messages(folder: FederationFolder, node: int, key: Path | None, age: float = 0.0) -> int:
    """Request the messages of a node, signed with a key so many seconds ago; return the status of the response."""
    headers = {"content-type": "application/protobuf"}
    if key is not None:
        private = load_key(key)
        stamp = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        headers |= {
            FLEET_HTTP_PUBLIC_KEY_HEADER: base64.b64encode(public).decode(),
            TIMESTAMP_HEADER: stamp,
            FLEET_HTTP_SIGNATURE_HEADER: base64.b64encode(private.sign(stamp.encode(), ec.ECDSA(hashes.SHA256()))).decode(),
        }
    body = PullMessagesRequest(node=Node(node_id=node)).SerializeToString()
    context = ssl.create_default_context(cafile=folder.ca_certificate)
    url = f"https://{folder.settings.address}/v1/fleet/pull-messages"
    return httpx.post(url, content=body, headers=headers, verify=context, timeout=30).status_code


@pytest.mark.slow
def test_it_reports_what_is_up_and_where(folder: FederationFolder, server: Server) -> None:
    assert server.has_printed(
        f"hospitals reach it at  {folder.settings.address} (nginx, listening on {folder.settings.proxy.listen})"
    )
    assert server.has_printed(f"127.0.0.1:{folder.settings.superlink.port} (for this machine only)")
    assert server.has_printed("may take part          hospital-1, hospital-2")
    assert set(server.processes()) == {"superlink", "superexec", "nginx"}


@pytest.mark.slow
def test_flowers_server_listens_on_loopback_only(folder: FederationFolder, server: Server) -> None:
    addresses = {
        connection.laddr.ip
        for process in server.all_processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


@pytest.mark.slow
def test_a_request_is_accepted_only_if_an_enrolled_key_has_just_signed_it(
    folder: FederationFolder, server: Server, home: Path
) -> None:
    make_key(home / "stranger.key")
    answers = {
        "its own key": request_messages(folder, node_of(folder, "hospital-1"), home / "hospital-1.key"),
        "nothing but the CA": request_messages(folder, node_of(folder, "hospital-1"), None),
        "a foreign key": request_messages(folder, node_of(folder, "hospital-1"), home / "stranger.key"),
        "the key of another site": request_messages(folder, node_of(folder, "hospital-1"), home / "hospital-2.key"),
        "a request recorded six minutes ago": request_messages(
            folder, node_of(folder, "hospital-1"), home / "hospital-1.key", age=360
        ),
    }
    assert answers.pop("its own key") == 200
    assert set(answers.values()) == {401}, answers


@pytest.mark.slow
def test_an_outsider_with_the_ca_certificate_can_submit_nothing(
    folder: FederationFolder, server: Server, tmp_path: Path
) -> None:
    connection = f'address = "{folder.settings.address}"\nroot-certificates = "{folder.ca_certificate}"\n'
    (tmp_path / "config.toml").write_text(f'[superlink]\ndefault = "fed"\n[superlink.fed]\n{connection}')
    make_key(tmp_path / "key")
    public = tmp_path / "key.pub"
    public.write_bytes(load_key(tmp_path / "key").public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    environment = os.environ | {"FLWR_HOME": str(tmp_path)}
    program = str(Path(sys.executable).parent / "flwr")
    for arguments in (
        ["ls", "fed"],
        ["supernode", "list", "fed"],
        ["supernode", "register", str(public), "fed"],
        ["stop", "1", "fed"],
    ):
        done = subprocess.run(
            [program, *arguments, "--format", "json"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert '"success": true' not in done.stdout, arguments
    assert len(run_flwr(folder, "supernode", "list", CONNECTION, "--format", "json")["nodes"]) == 2


@pytest.mark.slow
def test_what_the_server_writes_is_for_its_owner_alone(folder: FederationFolder, server: Server) -> None:
    written = [
        folder.path / "server.pid",
        *(path for name in ("superlink", "logs") for path in (folder.path / name).rglob("*")),
    ]
    assert folder.path / "superlink" / "state.db" in written
    assert folder.path / "logs" / "nginx.log" in written
    assert [path for path in written if path.stat().st_mode & 0o077] == []


@pytest.mark.slow
def test_a_second_server_is_refused(folder: FederationFolder, server: Server) -> None:
    with pytest.raises(DeployError, match=r"\[SERVER-BUSY\]"):
        server_up(folder.path, print)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["superlink", "superexec", "nginx"])
def test_a_process_that_dies_is_restarted(folder: FederationFolder, server: Server, home: Path, name: str) -> None:
    before = server.processes()[name]
    before.kill()
    before.wait(60)
    wait_for(lambda: name in server.processes())
    wait_for(lambda: _answers(folder, home))
    assert server.has_printed(f"{name} ended with code")


def _answers(folder: FederationFolder, home: Path) -> bool:
    try:
        return request_messages(folder, node_of(folder, "hospital-1"), home / "hospital-1.key") == 200
    except httpx.HTTPError:
        return False


# The tests from here on have a server of their own.


@contextmanager
def supernode(
    folder: FederationFolder, home: Path, site: str, *, with_certificate: bool = False, address: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Flower's SuperNode with the key of a site, through the proxy, optionally with its certificate."""
    (home / "node.secret").write_bytes(b"s" * 32)
    (home / "tls.key").write_bytes(
        load_key(home / f"{site}.key").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    certificate = [str(home / f"{site}.crt"), str(home / "tls.key")] if with_certificate else ["", ""]
    command = [
        *(sys.executable, "-m", "medfl.deploy.supernode", *certificate, str(home / "answered"), "64"),
        *("--superlink", address or folder.settings.address, "--root-certificates", str(folder.ca_certificate)),
        *("--auth-supernode-private-key", str(home / f"{site}.key")),
        *("--isolation", "process", "--superexec-auth-secret-file", str(home / "node.secret")),
        *("--host", "127.0.0.1", "--port", str(find_free_port())),
    ]
    with (home / "supernode.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | {"FLWR_HOME": str(home / "flwr")}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def online(folder: FederationFolder) -> set[int]:
    """Return the ids of the nodes that are connected."""
    listed = run_flwr(folder, "supernode", "list", CONNECTION, "--format", "json")["nodes"]
    return {int(node["node-id"]) for node in listed if node["status"] == "online"}


@pytest.mark.slow
def test_a_supernode_connects_and_is_refused_once_it_is_revoked(tmp_path: Path) -> None:
    folder = make_federation(tmp_path, ("hospital-1", "hospital-2"))
    with server_of(folder) as server, supernode(folder, tmp_path, "hospital-1"):
        wait_for(lambda: online(folder) == {node_of(folder, "hospital-1")})
        assert request_messages(folder, node_of(folder, "hospital-2"), tmp_path / "hospital-2.key") == 200
        node = node_of(folder, "hospital-1")
        site_registry.revoke(folder, "hospital-1")
        wait_for(lambda: request_messages(folder, node, tmp_path / "hospital-1.key") == 401)
        wait_for(lambda: server.has_printed("hospital-1 is out"))
        assert request_messages(folder, node_of(folder, "hospital-2"), tmp_path / "hospital-2.key") == 200
        assert online(folder) == set()


@pytest.mark.slow
def test_no_process_is_left_when_it_is_killed_or_stopped_and_it_starts_again(tmp_path: Path) -> None:
    folder = make_federation(tmp_path, ("hospital-1",))
    with server_of(folder) as server:
        all_processes = server.all_processes()
        server.process.kill()
        assert psutil.wait_procs(all_processes, timeout=60)[1] == []
    with server_of(folder) as server:
        assert request_messages(folder, node_of(folder, "hospital-1"), tmp_path / "hospital-1.key") == 200
        assert not server.has_printed("hospital-1 may take part.")  # its node was kept
        all_processes = server.all_processes()
        assert server_down(folder.path)
        assert server.process.wait(60) == 0
        assert psutil.wait_procs(all_processes, timeout=60)[1] == []
    assert not server_down(folder.path)


@pytest.mark.slow
def test_a_supernode_outlasts_a_middle_box_that_cuts_or_swallows_its_connections(tmp_path: Path) -> None:
    folder = make_federation(tmp_path, ("hospital-1",), asks_for_certificates=True)
    sign, port = tmp_path / "answered", int(folder.settings.proxy.listen.rpartition(":")[2])
    with server_of(folder), middle_box(port) as box:
        with supernode(folder, tmp_path, "hospital-1", with_certificate=True, address=box.address) as node:
            wait_for(lambda: online(folder) == {node_of(folder, "hospital-1")})
            modes: tuple[Mode, ...] = ("shut", "cut", "silent")
            for mode in modes:
                refused, box.mode = box.refused, mode
                box.drop_all()
                wait_for(lambda: box.refused > refused + (mode != "silent"))  # noqa: B023 - called within the loop
                sign.unlink(missing_ok=True)
                box.mode = "pass"
                box.drop_all()
                wait_for(sign.exists)
            assert node.poll() is None
        assert (tmp_path / "supernode.log").read_text().count("Starting Flower SuperNode") == 1


@pytest.mark.slow
def test_with_client_certificates_it_asks_before_anything_else(tmp_path: Path) -> None:
    folder = make_federation(tmp_path, ("hospital-1",), asks_for_certificates=True)
    with server_of(folder) as server, supernode(folder, tmp_path, "hospital-1", with_certificate=True):
        assert server.has_printed("asks every caller for a certificate")
        wait_for(lambda: online(folder) == {node_of(folder, "hospital-1")})
        assert request_messages(folder, node_of(folder, "hospital-1"), tmp_path / "hospital-1.key") == 400


@pytest.mark.slow
def test_a_proxy_that_publishes_more_is_stopped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_federation(tmp_path)
    addresses = proxy._TEMPLATE.replace("location /v1/fleet/ ", "location / ").replace("location / {{ return 404; }}", "")
    monkeypatch.setattr(proxy, "_TEMPLATE", addresses)
    others = psutil.Process().children(recursive=True)
    with pytest.raises(DeployError, match=r"\[EXPOSED\].*Control API, Runtime API"):
        server_up(folder.path, print)
    assert set(psutil.Process().children(recursive=True)) <= set(others)


@pytest.mark.slow
def test_a_certificate_that_expires_soon_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca, "SERVER_DAYS", 9)
    folder = make_federation(tmp_path, ("hospital-1",))
    entry = json.loads((folder.sites / "hospital-1.json").read_bytes())
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="seconds")
    (folder.sites / "hospital-1.json").write_text(json.dumps(entry | {"expires": soon}))
    with server_of(folder) as server:
        assert server.has_printed(f"hospital-1 is enrolled until {soon[:10]}: medfl server renew hospital-1.")
        assert server.has_printed("medfl server renew --server")
