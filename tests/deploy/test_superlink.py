"""Flower's SuperLink: its command lines, its environment, and its answers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from medfl.deploy.federation_folder import FederationFolder, open_federation
from medfl.deploy.superlink import flower_environment, run_flwr, superexec_process, superlink_process
from medfl.errors import DeployError
from tests.deploy.local_server import make_federation


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    """Return a federation."""
    return make_federation(tmp_path)


def value_after(command: list[str], flag: str) -> str:
    """Return the argument after a flag."""
    return command[command.index(flag) + 1]


def test_flowers_server_listens_on_loopback_only_and_authenticates_callers(folder: FederationFolder) -> None:
    command = list(superlink_process(folder).command)
    assert value_after(command, "--host") == "127.0.0.1"
    assert value_after(command, "--isolation") == "process"
    assert value_after(command, "--database") == f"{folder.path}/superlink/state.db"
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(command)
    assert "--insecure" not in command


def test_the_secret_of_tasks_is_shared_by_the_two_processes_only(folder: FederationFolder) -> None:
    secrets = {
        value_after(list(child.command), "--superexec-auth-secret-file")
        for child in (superlink_process(folder), superexec_process(folder))
    }
    (secret,) = map(Path, secrets)
    assert secret.stat().st_mode & 0o077 == 0
    assert len(secret.read_bytes()) >= 32
    assert (secret.parent.stat().st_mode & 0o077) == 0


def test_telemetry_is_off_and_everything_is_inside_the_folder(folder: FederationFolder) -> None:
    environment = flower_environment(folder)
    assert (environment["FLWR_TELEMETRY_ENABLED"], environment["FLWR_DISABLE_UPDATE_CHECK"]) == ("0", "1")
    assert environment["FLWR_HOME"].startswith(str(folder.path))
    assert environment["MEDFL_RUNS"] == str(folder.runs)


def test_a_moved_folder_or_a_changed_port_is_followed(folder: FederationFolder) -> None:
    flower_environment(folder)
    moved = folder.path.rename(folder.path.with_name("moved"))
    settings = moved / "federation.toml"
    settings.write_text(settings.read_text().replace(f"port = {folder.settings.superlink.port}", "port = 40001"))
    home = Path(flower_environment(open_federation(moved))["FLWR_HOME"])
    connection = tomllib.loads((home / "config.toml").read_text())["superlink"]["fed"]
    assert connection == {"address": "127.0.0.1:40001", "root-certificates": str(moved / "ca" / "ca.crt")}


def test_a_server_that_is_not_up_is_reported_as_such(folder: FederationFolder) -> None:
    with pytest.raises(DeployError, match=r"\[SERVER-DOWN\].*medfl server up"):
        run_flwr(folder, "supernode", "list", "fed", "--format", "json")
