"""Proxy of a federation's server: a real nginx in front of a fake of Flower's server that would answer anything."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from medfl.deploy import ca, proxy, site_registry
from medfl.deploy.proxy import write_config
from medfl.errors import DeployError
from tests.deploy.local_proxy import Setup, upstream
from tests.deploy.local_server import needs_nginx, nginx_of, wait_for

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


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
