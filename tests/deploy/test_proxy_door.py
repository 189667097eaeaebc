"""Strangers at the door of a real nginx: they hold connections, say nothing, flood, or speak with old ciphers."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medfl.deploy import proxy
from medfl.deploy.proxy import ProxyConfig, has_stream_module, nginx_command, write_config
from medfl.system.ports import find_free_port
from tests.deploy.local_proxy import Setup
from tests.deploy.local_server import needs_nginx, nginx_of

pytestmark = [needs_nginx, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

needs_stream = pytest.mark.skipif(not has_stream_module(), reason="needs nginx's stream module")


@pytest.fixture(params=[pytest.param("door", marks=needs_stream), "no door"])
def config(request: pytest.FixtureRequest, setup: Setup) -> ProxyConfig:
    """Return the configuration that asks for certificates, with nginx's stream module and without."""
    return replace(setup.config, crl=setup.folder.crl, inner=find_free_port() if request.param == "door" else None)


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


@contextlib.contextmanager
def strangers(port: int, sources: list[str], each: int) -> Iterator[list[socket.socket]]:
    """Hold connections that say nothing."""
    with contextlib.ExitStack() as held:
        yield [held.enter_context(connect(port, source)) for source in sources for _ in range(each)]


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has ended a connection, without waiting."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    ("sources", "each"), [(["127.0.0.2"], 2044), ([f"127.0.1.{n}" for n in range(1, 51)], 60)], ids=["one", "fifty"]
)
def test_a_hospital_gets_in_past_thousands_that_say_nothing(
    config: ProxyConfig,
    setup: Setup,
    sources: list[str],
    each: int,
) -> None:
    with nginx_of(write_config(config), setup.port), strangers(setup.port, sources, each):
        assert setup.request("/v1/fleet/pull-messages", site="hospital-1")[0] == 200


@needs_stream
def test_one_address_holds_no_more_than_its_share(setup: Setup) -> None:
    config = replace(setup.config, crl=setup.folder.crl, inner=find_free_port())
    with nginx_of(write_config(config), setup.port), strangers(setup.port, ["127.0.0.2"], 400) as held:
        deadline = time.monotonic() + 5  # before the clock shuts out anybody
        while sum(map(is_closed, held)) < 400 - proxy._MAX_ACCEPTED and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sum(map(is_closed, held)) == 400 - proxy._MAX_ACCEPTED


def test_who_says_nothing_or_half_a_request_is_sent_away(
    config: ProxyConfig,
    setup: Setup,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "client_header_timeout 10s;" in proxy._TEMPLATE
    quick = proxy._TEMPLATE.replace("client_header_timeout 10s;", "client_header_timeout 1s;")
    monkeypatch.setattr(proxy, "_TEMPLATE", quick)
    context = ssl.create_default_context(cafile=setup.folder.ca_certificate)
    with nginx_of(write_config(config), setup.port), strangers(setup.port, ["127.0.0.2"], 1) as (silent,):
        with context.wrap_socket(connect(setup.port), server_hostname="127.0.0.1") as half:
            half.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: a\r\nX: ")
            half.settimeout(30)
            assert half.recv(1) == b""
        silent.settimeout(30)
        assert silent.recv(1) == b""


def test_a_hospital_that_floods_slows_itself_alone(
    config: ProxyConfig,
    setup: Setup,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proxy, "_REQUESTS_PER_SECOND", 1)
    monkeypatch.setattr(proxy, "_BURST", 5)
    with nginx_of(write_config(config), setup.port):
        codes = {setup.request("/v1/fleet/pull-messages", site="hospital-1")[0] for _ in range(20)}
        assert codes == {200, 503}  # after which Flower tries again
        assert setup.request("/v1/fleet/pull-messages", site="hospital-2")[0] == 200


@pytest.mark.parametrize(
    ("cipher", "is_accepted"),
    [("ECDHE-ECDSA-AES256-SHA384", False), ("ECDHE-ECDSA-AES128-SHA", False), ("ECDHE-ECDSA-AES256-GCM-SHA384", True)],
)
def test_old_ciphers_are_refused(config: ProxyConfig, setup: Setup, cipher: str, *, is_accepted: bool) -> None:
    context = ssl.create_default_context(cafile=setup.folder.ca_certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    expected = contextlib.nullcontext() if is_accepted else pytest.raises((ssl.SSLError, ConnectionError))
    with nginx_of(write_config(config), setup.port), expected, connect(setup.port) as raw:
        context.wrap_socket(raw, server_hostname="127.0.0.1").close()


def test_the_configuration_says_nothing_that_nginx_warns_of(config: ProxyConfig) -> None:
    checked = subprocess.run([*nginx_command(write_config(config)), "-t"], capture_output=True, text=True, check=True)
    assert "warn" not in checked.stderr


def test_callers_are_counted_by_certificate_or_else_by_address(setup: Setup) -> None:
    assert "limit_conn_zone $binary_remote_addr" in proxy.render_config(setup.config)
    asked = proxy.render_config(replace(setup.config, crl=setup.folder.crl))
    assert "limit_conn_zone $ssl_client_serial" in asked
    assert "limit_req_zone $ssl_client_serial" in asked


@pytest.mark.skipif(shutil.which("nft") is None or os.geteuid() != 0, reason="needs nftables and root")
def test_the_rule_of_the_documentation_is_one_that_a_firewall_takes(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "threats.md").read_text()
    rule = tmp_path / "rule"
    rule.write_text(text.split("## A rule for the firewall")[1].split("```")[1])
    assert "ct count over 256" in rule.read_text()
    checked = subprocess.run(["nft", "-c", "-f", str(rule)], capture_output=True, text=True, check=False)
    if "Operation not permitted" in checked.stderr or "not supported" in checked.stderr:
        pytest.skip("the kernel of this machine has no nftables")
    assert checked.returncode == 0, checked.stderr


def test_the_limits_that_only_time_or_a_crowd_would_show_are_written(config: ProxyConfig) -> None:
    text = proxy.render_config(config)
    for line in (
        *("ssl_session_tickets off;", "ssl_protocols TLSv1.2 TLSv1.3;", "client_body_timeout 60s;", "send_timeout 60s;"),
        f"limit_conn callers {proxy._MAX_CONNECTIONS};",
        f"worker_rlimit_nofile {proxy._file_limit()};",
        f"worker_connections {proxy._file_limit() - proxy._SPARE_FILES};",
    ):
        assert line in text
    assert ("real_ip_header proxy_protocol;" in text) == (config.inner is not None)
    assert ("set_real_ip_from 127.0.0.1;" in text) == (config.inner is not None)
