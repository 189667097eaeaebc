"""How Flower's own server is started, and asked."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from medfl.deploy.federation_folder import FederationFolder, open_federation
from medfl.deploy.superlink import flower_environment, run_flwr, superexec_process, superlink_process
from medfl.errors import DeployError
from tests.deploy.serving import make_federation


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    """Give a federation."""
    return make_federation(tmp_path)


def following(command: list[str], flag: str) -> str:
    """Return the word after a flag."""
    return command[command.index(flag) + 1]


def test_flowers_server_is_for_this_machine_alone_and_asks_who_calls(folder: FederationFolder) -> None:
    command = list(superlink_process(folder).command)
    assert following(command, "--host") == "127.0.0.1"
    assert following(command, "--isolation") == "process"
    assert following(command, "--database") == f"{folder.path}/superlink/state.db"
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(command)
    assert "--insecure" not in command


def test_the_secret_of_tasks_is_shared_by_the_two_alone(folder: FederationFolder) -> None:
    secrets = {
        following(list(child.command), "--superexec-auth-secret-file")
        for child in (superlink_process(folder), superexec_process(folder))
    }
    (secret,) = map(Path, secrets)
    assert secret.stat().st_mode & 0o077 == 0
    assert len(secret.read_bytes()) >= 32
    assert (secret.parent.stat().st_mode & 0o077) == 0


def test_nothing_is_phoned_home_and_nothing_lies_outside_of_the_folder(folder: FederationFolder) -> None:
    found = flower_environment(folder)
    assert (found["FLWR_TELEMETRY_ENABLED"], found["FLWR_DISABLE_UPDATE_CHECK"]) == ("0", "1")
    assert found["FLWR_HOME"].startswith(str(folder.path))
    assert found["MEDFL_RUNS"] == str(folder.runs)


def test_a_folder_that_was_moved_or_has_another_port_is_asked_where_it_is_now(folder: FederationFolder) -> None:
    flower_environment(folder)
    moved = folder.path.rename(folder.path.with_name("moved"))
    settings = moved / "federation.toml"
    settings.write_text(settings.read_text().replace(f"port = {folder.settings.superlink.port}", "port = 40001"))
    home = Path(flower_environment(open_federation(moved))["FLWR_HOME"])
    told = tomllib.loads((home / "config.toml").read_text())["superlink"]["fed"]
    assert told == {"address": "127.0.0.1:40001", "root-certificates": str(moved / "ca" / "ca.crt")}


def test_a_server_that_is_not_up_is_said_to_be_so(folder: FederationFolder) -> None:
    with pytest.raises(DeployError, match=r"\[SERVER-DOWN\].*medfl server up"):
        run_flwr(folder, "supernode", "list", "fed", "--format", "json")
