"""Checks of the doctor: each problem is found, with what to do; what is right is not reported as wrong."""

from __future__ import annotations

import http.server
import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

import medfl
from medfl.audit.chain import Chain
from medfl.cli.app import app
from medfl.deploy.doctor import installation_checks, machine_checks
from medfl.deploy.doctor.certificate_checks import check_certificate
from medfl.deploy.doctor.check_result import CheckResult
from medfl.deploy.doctor.connection_checks import check_connection
from medfl.deploy.doctor.folder_checks import check_folder
from medfl.deploy.doctor.site_checks import check_site, check_site_files
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import read_request
from medfl.deploy.kits import join_federation, read_kit, write_kit
from medfl.deploy.site_processes import require_ready
from medfl.deploy.site_registry import enrol
from medfl.deploy.site_setup import set_up_site
from medfl.errors import DeployError
from medfl.privacy.ledger import Ledger
from medfl.site import read_site
from medfl.system.ports import find_free_port
from tests.deploy.local_server import make_federation


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    return make_federation(tmp_path / "federation")


@pytest.fixture
def site(tmp_path: Path, federation: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a complete site, on a machine that is good enough."""
    folder = tmp_path / "site"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "image.png").write_bytes(b"")
    files = set_up_site(folder, "hospital-a", "data")
    enrolled, signed = enrol(federation, read_request(files.request))
    join_federation(read_kit(write_kit(federation, enrolled, signed)), folder)
    monkeypatch.setattr("medfl.deploy.doctor.site_checks.check_machine", lambda *_, **__: iter(()))
    monkeypatch.setattr("medfl.deploy.doctor.site_checks.check_connection", lambda *_, **__: iter(()))
    return folder


def problems(results: Iterator[CheckResult], level: str = "error") -> dict[str, CheckResult]:
    return {result.code: result for result in results if result.level == level}


def test_a_complete_site_has_no_problem(site: Path) -> None:
    results = list(check_site(site))
    assert [result for result in results if result.level == "error"] == []
    assert problems(iter(results), "warning").keys() == {"APPROVED"}


def test_every_problem_comes_with_what_to_do(site: Path) -> None:
    (site / "site.key").unlink()
    (site / "data" / "image.png").unlink()
    (site / "ca.crt").write_text("nonsense")
    found = problems(check_site(site))
    assert found.keys() >= {"KEY", "DATA", "CERTIFICATE"}
    assert all(result.fix for result in found.values())


@pytest.mark.parametrize("name", ["site.key", "site.secret"])
def test_a_secret_that_others_may_read_is_an_error(name: str, site: Path) -> None:
    (site / name).chmod(0o640)
    assert f"Accounts other than the owner's may read {name}" in problems(check_site_files(read_site(site)))["KEY"].what


def test_a_certificate_of_another_key_is_found(site: Path) -> None:
    (site / "site.key").unlink()
    set_up_site(site, "hospital-a", "data")
    assert "does not belong to the key" in problems(check_site_files(read_site(site)))["KEY"].what


def test_a_changed_log_is_found(site: Path) -> None:
    chain = Chain(site / "audit.jsonl", "hospital-a")
    for number in range(3):
        chain.append({"event": f"e{number}"})
    chain.path.write_text(chain.path.read_text().replace("e1", "e9"))
    assert "changed after it was written" in problems(check_site(site))["AUDIT"].what


def test_a_damaged_record_of_what_was_asked_is_found(site: Path) -> None:
    assert "0 runs of 0 studies" in problems(check_site(site), "ok")["BUDGET"].what
    Ledger(site / "budget").begin_run("0" * 64, "tiny", "r1")
    assert "1 run of 1 study" in problems(check_site(site), "ok")["BUDGET"].what
    (site / "budget" / "ledger.db").unlink()
    assert "from a copy" in problems(check_site(site))["BUDGET"].fix


def test_runs_that_the_record_of_what_was_asked_has_lost_are_found(site: Path) -> None:
    Ledger(site / "budget").begin_run("0" * 64, "tiny", "r1")
    chain = Chain(site / "audit.jsonl", "hospital-a")
    for run in ("r1", "r2"):
        chain.append({"event": "came", "run": run, "decision": "accepted"})
    chain.append({"event": "left", "run": "r1", "records": []})
    chain.append({"event": "left", "run": "r2", "error": "RUNS-SPENT"})
    assert "BUDGET" in problems(check_site(site), "ok")
    shutil.rmtree(site / "budget")
    found = problems(check_site(site), "warning")["BUDGET"]
    assert "does not have: r1." in found.what
    assert "newest copy" in found.fix
    for command in ("budget", "approvals"):
        done = CliRunner().invoke(app, ["site", command, "--site", str(site)])
        assert done.exit_code == 0
    assert "does not have: r1" in " ".join(CliRunner().invoke(app, ["site", "budget", "--site", str(site)]).output.split())


def test_a_record_of_what_was_asked_that_others_can_read_is_found(site: Path) -> None:
    Ledger(site / "budget").begin_run("0" * 64, "tiny", "r1")
    (site / "budget" / "answers").chmod(0o755)
    assert problems(check_site(site))["BUDGET"].fix == f"chmod -R go= {site / 'budget'}"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("/there/is/no-such-command", "there is no such file"),
        ("no-such-program-of-medfl --now", "there is no such program"),
        ("./alarm.sh", "does not begin with /"),
        ("SITE/site.toml", "may not execute"),
        ("/opt/alarm.sh 'our hospital", "a quotation mark is missing"),
        ("true --quiet", ""),
    ],
)
def test_a_command_for_alarms_that_cannot_be_started_is_found_before_the_alarm(command: str, problem: str, site: Path) -> None:
    policy = f"[policy]\non-alarm = {json.dumps(command.replace('SITE', str(site)))}"
    (site / "site.toml").write_text((site / "site.toml").read_text().replace("[policy]", policy))
    found = problems(check_site(site)).get("COMMAND")
    assert (found is None) == (not problem)
    assert found is None or (problem in found.what and "policy.on-alarm" in found.fix)


def test_a_command_for_failures_that_is_not_there_is_found(federation: FederationFolder) -> None:
    file = federation.path / "federation.toml"
    file.write_text(file.read_text().replace('on-failure = ""', 'on-failure = "./tell.sh"'))
    assert "monitor.on-failure" in problems(check_folder(federation.path))["COMMAND"].what
    (federation.path / "tell.sh").write_text("#!/bin/sh\n")
    (federation.path / "tell.sh").chmod(0o700)
    assert "COMMAND" not in problems(check_folder(federation.path))


def test_a_site_without_a_federation_learns_how_to_join(tmp_path: Path) -> None:
    set_up_site(tmp_path, "hospital-a", ".")
    assert "site join" in problems(check_site_files(read_site(tmp_path)))["FEDERATION"].fix


def test_a_folder_that_is_neither_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="DOCTOR-NOTHING"):
        list(check_folder(tmp_path))


@pytest.mark.parametrize(("days", "level"), [(0, "ok"), (300, "ok"), (340, "warning"), (366, "error"), (-1, "error")])
def test_a_certificate_is_reported_before_it_expires(days: int, level: str, federation: FederationFolder) -> None:
    now = datetime.now(UTC) + timedelta(days=days)
    assert check_certificate(federation.server_certificate, "the certificate", "renew", now).level == level


def test_a_medfl_that_is_not_the_installed_one_is_found(tmp_path: Path) -> None:
    assert installation_checks.check_not_shadowed().level == "ok"
    assert installation_checks.check_not_shadowed(tmp_path / "medfl" / "__init__.py").level == "error"


def test_a_medfl_installed_in_place_is_the_installed_one_whatever_its_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "unsere Geräte 100%25"
    install(tmp_path / "packages", "flwr-medfl", "0.1.0", {"url": checkout.as_uri(), "dir_info": {"editable": True}})
    monkeypatch.setattr("sys.path", [str(tmp_path / "packages")])
    assert installation_checks.check_not_shadowed(checkout / "medfl" / "__init__.py").level == "ok"


def install(folder: Path, name: str, version: str, direct_url: object = None) -> None:
    """Lay a distribution out in a folder as pip would."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(json.dumps(direct_url))


def test_another_project_of_the_name_medfl_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    install(tmp_path, "flwr-medfl", "0.1.0")
    assert list(installation_checks.check_distributions()) == []
    install(tmp_path, "medfl", "2.0.10")
    (found,) = installation_checks.check_distributions()
    assert (found.code, found.level) == ("DISTRIBUTION", "error")
    assert "pip uninstall medfl flwr-medfl" in found.fix


def test_a_site_does_not_start_where_code_of_another_project_may_run(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(medfl.__file__).parent.parent.as_uri()
    install(tmp_path / "packages", "flwr-medfl", "0.1.0", {"url": repository, "dir_info": {"editable": True}})
    monkeypatch.syspath_prepend(tmp_path / "packages")
    require_ready(read_site(site))
    install(tmp_path / "packages", "medfl", "2.0.10")
    with pytest.raises(DeployError, match="pip uninstall medfl flwr-medfl"):
        require_ready(read_site(site))


def test_a_stray_pyproject_does_not_make_another_project_a_development_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    install(tmp_path, "medfl", "2.0.10")
    (tmp_path / "pyproject.toml").write_text("")
    assert [found.level for found in installation_checks.check_distributions()] == ["error"]


def test_what_an_installation_in_place_left_in_the_checkout_is_a_development_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    (tmp_path / "medfl.egg-info").mkdir()
    (tmp_path / "medfl.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: medfl\nVersion: 0.1.0\n")
    (tmp_path / "pyproject.toml").write_text("")
    assert [found.level for found in installation_checks.check_distributions()] == ["warning"]


def test_a_development_installation_under_the_former_name_is_told_from_another_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place, another = tmp_path / "in-place", tmp_path / "another"
    install(in_place, "medfl", "0.1.0", {"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    install(another, "medfl", "2.0.10")
    monkeypatch.setattr("sys.path", [str(in_place)])
    (found,) = installation_checks.check_distributions()
    assert (found.level, "make clean venv" in found.fix) == ("warning", True)
    monkeypatch.setattr("sys.path", [str(in_place), str(another)])
    (found,) = installation_checks.check_distributions()
    assert (found.level, "pip uninstall" in found.fix) == ("error", True)


def test_a_nightly_flower_is_a_flower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert "flwr not installed" in installation_checks.check_versions().what
    install(tmp_path, "flwr-nightly", "1.42.0.dev20261021")
    assert installation_checks.check_versions().level == "ok"


def test_little_free_space_is_a_warning_and_too_little_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for free, level in ((100e9, "ok"), (10e9, "warning"), (1e9, "error")):
        monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert machine_checks.check_disk(tmp_path).level == level


class FakeServer(http.server.BaseHTTPRequestHandler):
    """A server that answers each path with a status, and sends a time."""

    statuses: dict[str, int]
    delay: timedelta

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status = 403 if self.path.endswith("register-node") else self.statuses.get(self.path, 404)
        self.send_response_only(status)
        self.send_header("Date", format_datetime(datetime.now(UTC) - self.delay, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(federation: FederationFolder, statuses: dict[str, int], delay: float = 0.0) -> Iterator[str]:
    handler = type("Handler", (FakeServer,), {"statuses": statuses, "delay": timedelta(seconds=delay)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(federation.server_certificate, federation.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


FLEET = {"/v1/fleet/pull-messages": 415}


def levels(results: Iterator[CheckResult]) -> dict[str, str]:
    return {result.code: result.level for result in results}


def test_a_server_that_publishes_nothing_but_the_fleet_api_is_right(federation: FederationFolder) -> None:
    with serve(federation, FLEET) as address:
        assert levels(check_connection(address, federation.ca_certificate)) == {"FLEET": "ok", "CLOCK": "ok", "EXPOSED": "ok"}


@pytest.mark.parametrize("path", ["/v1/control/list-runs", "/v1/runtime/acquire-task", "/docs", "/health"])
def test_anything_else_that_answers_is_an_error(path: str, federation: FederationFolder) -> None:
    with serve(federation, FLEET | {path: 401}) as address:
        assert levels(check_connection(address, federation.ca_certificate))["EXPOSED"] == "error"


@pytest.mark.parametrize(("delay", "level"), [(0, "ok"), (100, "warning"), (-100, "warning"), (290, "error")])
def test_clocks_that_differ_are_found_before_flower_refuses(delay: float, level: str, federation: FederationFolder) -> None:
    with serve(federation, FLEET, delay) as address:
        assert levels(check_connection(address, federation.ca_certificate))["CLOCK"] == level


def test_a_proxy_without_a_server_is_distinguished_from_a_wrong_address(federation: FederationFolder) -> None:
    with serve(federation, {"/v1/fleet/pull-messages": 502}) as address:
        assert "medfl server up" in problems(check_connection(address, federation.ca_certificate))["FLEET"].fix
    with serve(federation, {}) as address:
        assert "Check the address" in problems(check_connection(address, federation.ca_certificate))["FLEET"].fix


def test_the_reason_why_a_server_cannot_be_reached_is_reported(federation: FederationFolder, tmp_path: Path) -> None:
    closed = problems(check_connection(f"127.0.0.1:{find_free_port()}", federation.ca_certificate))["REACH"]
    assert "Nothing listens" in closed.fix
    other = make_federation(tmp_path / "other")
    with serve(other, FLEET) as address:
        assert "not signed by the federation's" in problems(check_connection(address, federation.ca_certificate))["REACH"].fix


def test_a_result_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(CheckResult("DISK", "ok", "Much.").as_json())) == {
        "code": "DISK",
        "level": "ok",
        "what": "Much.",
        "fix": "",
    }


def test_a_site_connects_with_its_certificate(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    def check(address: str, ca: Path, certificate: Path | None = None, key: Path | None = None) -> Iterator[CheckResult]:
        if certificate is not None and key is not None:
            ssl.create_default_context(cafile=ca).load_cert_chain(certificate, key)
            assert key.stat().st_mode & 0o077 == 0
        keys.append(key)
        return iter(())

    monkeypatch.setattr("medfl.deploy.doctor.site_checks.check_connection", check)
    list(check_site(site))
    (site / "site.crt").unlink()
    list(check_site(site))
    with_certificate, without = keys
    assert with_certificate is not None
    assert not with_certificate.exists()  # nothing of the key is left
    assert without is None
