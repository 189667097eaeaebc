"""Supervisor of processes: restarts, order of start, clean ends, logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from medfl.deploy.logs import read_last_words
from medfl.deploy.supervisor import Child, supervise
from medfl.errors import DeployError


def child(folder: Path, name: str, code: str, **options: object) -> Child:
    command = [sys.executable, "-c", code]
    return Child(name=name, command=command, env=os.environ, cwd=folder, log=folder / f"{name}.log", **options)  # type: ignore[arg-type]


def ends_after_its_start(folder: Path) -> dict[str, object]:
    """Return options of a child whose code begins with `AFTER_START`: it does not end before the supervisor saw it run."""
    return {"is_ready": lambda: (folder / "go").touch() is None}


AFTER_START = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n"


def stop_once(condition: Callable[[], bool], within: float = 120.0, number: signal.Signals = signal.SIGINT) -> None:
    """Send this process a signal, as Ctrl-C does, once a condition holds, or after a while if it never does."""
    main, end = threading.main_thread().ident, time.monotonic() + within
    assert main is not None

    def wait() -> None:
        try:
            while not condition() and time.monotonic() < end:
                time.sleep(0.05)
        finally:  # an error in the condition must not leave the test waiting
            signal.pthread_kill(main, number)

    threading.Thread(target=wait, daemon=True).start()


def test_a_process_that_ends_is_restarted_and_reported(tmp_path: Path) -> None:
    count = AFTER_START + f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(3)"
    restless = child(tmp_path, "restless", count, restart_delay=0.1, **ends_after_its_start(tmp_path))
    lines: list[str] = []
    stop_once(lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text()) >= 3)
    assert supervise([restless], notify=lines.append) == 0
    assert len((tmp_path / "starts").read_text()) >= 3
    assert lines[0].startswith("restless ended with code 3; it is restarted in 0.1 seconds.")


def test_an_expected_exit_is_not_reported(tmp_path: Path) -> None:
    count = AFTER_START + f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(75)"
    options = {"restart_delay": 600.0, "expected_exit_codes": (75,), **ends_after_its_start(tmp_path)}
    lines: list[str] = []
    stop_once(lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text()) >= 2)
    supervise([child(tmp_path, "reader", count, **options)], notify=lines.append)
    assert len((tmp_path / "starts").read_text()) >= 2
    assert lines == []


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    grandchild = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    stop_once(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().isdigit())
    supervise([child(tmp_path, "parent", grandchild)], notify=print)
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def _hears_hangups() -> Iterator[None]:
    """Undo what nohup does to the program that runs the tests: it ignores a closed terminal, and so does a supervisor."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_process_may_finish_when_all_are_stopped(tmp_path: Path, number: signal.Signals) -> None:
    done, up = tmp_path / "done", tmp_path / "up"
    grandchild = (
        "import signal, sys, time;"
        f"signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), open({str(done)!r}, 'w'), sys.exit()));"
        f"open({str(up)!r}, 'w'); time.sleep(600)"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {grandchild!r}]); time.sleep(600)"
    stop_once(up.exists, number=number)
    assert supervise([child(tmp_path, "parent", parent)], notify=print) == 0
    assert done.exists()


def test_a_process_that_cannot_be_restarted_for_now_does_not_stop_the_others(tmp_path: Path) -> None:
    program, lines = tmp_path / "program", list[str]()
    program.write_text('#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.01; done\nrm -- "$0"\n')
    program.chmod(0o755)
    options: dict[str, Any] = {"restart_delay": 0.1, **ends_after_its_start(tmp_path)}
    vanishing = Child("vanishing", [str(program)], os.environ, tmp_path, tmp_path / "log", **options)
    stop_once(lambda: any("cannot be started" in line for line in lines))
    assert supervise([vanishing], notify=lines.append) == 0
    assert "vanishing cannot be started (No such file or directory); next attempt in 0.1 seconds." in lines


def test_a_process_is_started_only_when_the_one_before_is_ready(tmp_path: Path) -> None:
    slow = f"import time; time.sleep(0.5); open({str(tmp_path / 'ready')!r}, 'w'); time.sleep(600)"
    saw = f"open({str(tmp_path / 'saw')!r}, 'w').write(str(os.path.exists({str(tmp_path / 'ready')!r})))"
    then = f"import os, time; {saw}; time.sleep(600)"
    stop_once(lambda: (tmp_path / "saw").exists() and (tmp_path / "saw").read_text() != "")
    first = child(tmp_path, "first", slow, is_ready=(tmp_path / "ready").exists)
    supervise([first, child(tmp_path, "second", then)], notify=print)
    assert (tmp_path / "saw").read_text() == "True"


def test_a_process_that_does_not_come_up_stops_the_others_and_the_error_names_its_log(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    good = child(tmp_path, "good", code, is_ready=(tmp_path / "pid").exists)
    with pytest.raises(DeployError, match=r"\[NOT-STARTED\] bad ended at once\. Its log says why: .*bad\.log"):
        supervise([good, child(tmp_path, "bad", "raise SystemExit('no room')", is_ready=lambda: False)], notify=print)
    assert "no room" in (tmp_path / "bad.log").read_text()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_log_is_private_and_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfl.deploy.logs._MAX_LOG_BYTES", 1000)
    log, rotated = tmp_path / "loud.log", tmp_path / "loud.log.1"
    stop_once(lambda: rotated.exists() and 0 < log.stat().st_size < 1000)
    talk = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.05)"
    supervise([child(tmp_path, "loud", talk)], notify=print, every=0.2)
    assert rotated.stat().st_size > 1000
    assert set(log.read_text()) == {"x", "\n"}  # the process went on appending, and left no hole
    assert [path.stat().st_mode & 0o077 for path in (log, rotated)] == [0, 0]


def test_any_command_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    sleeper = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    starter = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'medfl.system.parent_watch', sys.executable, '-c', "
        f"{sleeper!r}], start_new_session=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE) as parent:
        end = time.monotonic() + 120
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        parent.kill()
    pid = int((tmp_path / "pid").read_text())
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_slow_tick_does_not_delay_restarts_or_the_end(tmp_path: Path) -> None:
    begun, release, ticks = threading.Event(), threading.Event(), list[int]()

    def tick() -> None:
        ticks.append(1)
        begun.set()
        release.wait(60)

    code = AFTER_START + f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); time.sleep(0.3)"
    starts = tmp_path / "starts"
    starts.touch()
    stop_once(lambda: begun.is_set() and len(starts.read_text()) >= 4)
    restless = child(tmp_path, "restless", code, restart_delay=0.1, **ends_after_its_start(tmp_path))
    try:
        assert supervise([restless], notify=lambda line: None, on_tick=tick, every=0.1) == 0
        assert len(starts.read_text()) >= 4
        assert ticks == [1]
    finally:
        release.set()


def test_the_last_line_of_a_process_that_ended_is_shown(tmp_path: Path) -> None:
    lines: list[str] = []
    stop_once(lambda: bool(lines))
    code = AFTER_START + "print('site.toml: there is no such key.\\x1b[31m\\n'); raise SystemExit(1)"
    worker = child(tmp_path, "worker", code, restart_delay=600.0, **ends_after_its_start(tmp_path))
    supervise([worker], notify=lines.append)
    assert lines[0].endswith("It says: site.toml: there is no such key.[31m")  # without what could steer a terminal


def test_the_last_words_of_a_server_are_its_error_and_not_its_farewell(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "INFO :  Starting\nOSError: no space left\n\nINFO:     Shutting down\nINFO:     Finished server process [7]\n"
    )
    assert read_last_words(log) == "OSError: no space left"
    log.write_text("INFO:     Finished server process [7]\n")
    assert read_last_words(log) == "INFO:     Finished server process [7]"
