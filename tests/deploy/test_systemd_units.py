"""Units for systemd: it accepts them, and they restrict what they can."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medfl.deploy.systemd_units import server_unit, site_unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("make", [server_unit, site_unit])
@pytest.mark.parametrize("user", [getpass.getuser(), "daemon"])
def test_systemd_accepts_the_unit(tmp_path: Path, make: Callable[[Path, str, str], str], user: str) -> None:
    folder = tmp_path / '100% $HOME of "it"'
    folder.mkdir()
    (tmp_path / "medfl-test.service").write_text(make(folder, "heart-study", user))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "medfl-test.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "medfl-test" in line] == []


def test_an_ordinary_account_may_listen_on_the_port_of_https(tmp_path: Path) -> None:
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in server_unit(tmp_path, "heart-study", "medfl")


def test_nginx_started_by_root_may_still_drop_its_privileges(tmp_path: Path) -> None:
    assert "CapabilityBoundingSet" not in server_unit(tmp_path, "heart-study", "root")


def test_a_server_that_was_stopped_is_not_restarted(tmp_path: Path) -> None:
    assert "Restart=on-failure" in server_unit(tmp_path, "heart-study", "medfl")
