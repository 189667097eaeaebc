"""Sign of life of a SuperNode: what is said of a silent server, and when a silent process is started anew."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from medfl.deploy.doctor.presence_checks import check_presence
from medfl.deploy.pulse import Pulse, PulseWatch
from medfl.deploy.site_state import LOCK_FILE, server_pulse
from medfl.deploy.supervisor import Child, supervise
from medfl.site import Site, init_site, read_site
from medfl.system.locks import take_lock
from tests.deploy.test_supervisor import stop_once


def answered(sign: Path, seconds_ago: float) -> None:
    """Let the server have answered some time ago."""
    sign.parent.mkdir(parents=True, exist_ok=True)
    sign.touch()
    os.utime(sign, (time.time() - seconds_ago,) * 2)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulseWatch:
    """Return the watch of a process that was started two hours ago."""
    watch = PulseWatch(Pulse(tmp_path / "sign", "The server", told_after=120, lost_after=900))
    with monkeypatch.context() as patched:
        past = time.time() - 7200
        patched.setattr(time, "time", lambda: past)
        watch.begin()
    return watch


def test_silence_is_told_once_and_so_is_its_end(watch: PulseWatch, tmp_path: Path) -> None:
    answered(tmp_path / "sign", 60)
    assert list(watch.describe_changes("")) == []
    answered(tmp_path / "sign", 180)
    (line,) = watch.describe_changes("handshake failed")
    assert line.startswith("The server has not answered for 3 min 0 s;")
    assert line.endswith("It says: handshake failed")
    assert list(watch.describe_changes("")) == []
    answered(tmp_path / "sign", 0)
    assert list(watch.describe_changes("")) == ["The server answers again, after 3 min 0 s."]
    assert list(watch.describe_changes("")) == []


@pytest.mark.parametrize(("ago", "is_lost"), [(60, False), (800, False), (1000, True), (None, True)])
def test_a_process_is_lost_after_long_silence(watch: PulseWatch, tmp_path: Path, ago: float | None, is_lost: bool) -> None:
    if ago is not None:
        answered(tmp_path / "sign", ago)
    assert watch.is_lost() == is_lost


def test_a_process_that_waits_for_its_server_is_not_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would lose the training that goes on meanwhile."""
    site = read_site(init_site(tmp_path, "north", "."))
    watch = PulseWatch(server_pulse(site))
    with monkeypatch.context() as patched:
        past = time.time() - 7200
        patched.setattr(time, "time", lambda: past)
        watch.begin()
    answered(server_pulse(site).sign, 7000)
    activity = server_pulse(site).activity
    assert activity is not None
    answered(activity, 5)
    assert len(list(watch.describe_changes(""))) == 1
    assert not watch.is_lost()
    answered(activity, 2000)
    assert watch.is_lost()


def test_a_new_process_gets_its_time(watch: PulseWatch, tmp_path: Path) -> None:
    answered(tmp_path / "sign", 7000)
    watch.begin()
    assert not watch.is_lost()


def test_a_process_that_lives_but_is_silent_is_started_anew(tmp_path: Path) -> None:
    """As Flower's SuperNode, whose own web server kept it alive once its loop had ended."""
    starts = tmp_path / "starts"
    code = f"import time; open({str(starts)!r}, 'a').write('x'); time.sleep(600)"
    pulse = Pulse(tmp_path / "sign", "The server", told_after=0.1, lost_after=0.2)
    silent = Child(
        "supernode", [sys.executable, "-c", code], os.environ, tmp_path, tmp_path / "log", restart_delay=0.0, pulse=pulse
    )
    lines: list[str] = []
    stop_once(lambda: starts.exists() and len(starts.read_text()) >= 2)
    assert supervise([silent], notify=lines.append, every=0.05) == 0
    assert lines[0].startswith("The server has not answered for ")
    assert lines[1] == "supernode is ended, and started anew: it has been silent for too long."


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "data").mkdir()
    init_site(tmp_path, "north", "data")
    return read_site(tmp_path)


def test_the_doctor_tells_whether_a_site_is_in_touch(site: Site) -> None:
    assert "not up" in check_presence(site).what
    lock_file = site.folder / LOCK_FILE
    lock_file.parent.mkdir()
    with lock_file.open("a") as lock:
        take_lock(lock)
        assert check_presence(site).level == "error"
        answered(server_pulse(site).sign, 300)
        assert "has not answered it for 5 min" in check_presence(site).what
        answered(server_pulse(site).sign, 3)
        result = check_presence(site)
        assert (result.level, result.what[:40]) == ("ok", "The site is up, and the server last answ")
    assert "not up" in check_presence(site).what
