"""Keeping processes running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from medfl.deploy.supervisor import Child, supervise
from medfl.errors import DeployError


def child(folder: Path, name: str, code: str, **more: object) -> Child:
    command = [sys.executable, "-c", code]
    return Child(name=name, command=command, env=os.environ, cwd=folder, log=folder / f"{name}.log", **more)  # type: ignore[arg-type]


def end_once(condition: Callable[[], bool], within: float = 30.0, how: signal.Signals = signal.SIGINT) -> None:
    """Ask this process to end, as Ctrl-C does, when a condition holds; or anyway when it never does."""
    main, end = threading.main_thread().ident, time.monotonic() + within
    assert main is not None

    def wait() -> None:
        while not condition() and time.monotonic() < end:
            time.sleep(0.05)
        signal.pthread_kill(main, how)

    threading.Thread(target=wait, daemon=True).start()


def test_what_ends_is_started_again_and_said(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(3)"
    told: list[str] = []
    end_once(lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text()) >= 3)
    assert supervise([child(tmp_path, "restless", count, restart_delay=0.1)], notify=told.append) == 0
    assert len((tmp_path / "starts").read_text()) >= 3
    assert told[0].startswith("restless ended with code 3; it is restarted in 0.1 seconds.")


def test_an_expected_end_is_no_news(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit(75)"
    told: list[str] = []
    end_once(lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text()) >= 2)
    supervise([child(tmp_path, "reader", count, restart_delay=600.0, expected_exit_codes=(75,))], notify=told.append)
    assert len((tmp_path / "starts").read_text()) >= 2
    assert told == []


def test_nothing_is_left_of_what_was_started(tmp_path: Path) -> None:
    grandchild = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    end_once(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().isdigit())
    supervise([child(tmp_path, "parent", grandchild)], notify=print)
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_may_finish_what_it_does_when_all_are_ended(tmp_path: Path, how: signal.Signals) -> None:
    done, up = tmp_path / "done", tmp_path / "up"
    grandchild = (
        "import signal, sys, time;"
        f"signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), open({str(done)!r}, 'w'), sys.exit()));"
        f"open({str(up)!r}, 'w'); time.sleep(600)"
    )
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {grandchild!r}]); time.sleep(600)"
    end_once(up.exists, how=how)
    assert supervise([child(tmp_path, "parent", parent)], notify=print) == 0
    assert done.exists()


def test_what_can_not_be_started_again_for_the_moment_does_not_end_the_others(tmp_path: Path) -> None:
    program, told = tmp_path / "program", list[str]()
    program.write_text('#!/bin/sh\nrm -- "$0"\n')
    program.chmod(0o755)
    vanishing = Child("vanishing", [str(program)], os.environ, tmp_path, tmp_path / "log", restart_delay=0.1)
    end_once(lambda: any("cannot be started" in line for line in told))
    assert supervise([vanishing], notify=told.append) == 0
    assert "vanishing cannot be started (No such file or directory); next attempt in 0.1 seconds." in told


def test_the_next_is_started_only_when_the_one_before_is_ready(tmp_path: Path) -> None:
    slow = f"import time; time.sleep(0.5); open({str(tmp_path / 'ready')!r}, 'w'); time.sleep(600)"
    saw = f"open({str(tmp_path / 'saw')!r}, 'w').write(str(os.path.exists({str(tmp_path / 'ready')!r})))"
    then = f"import os, time; {saw}; time.sleep(600)"
    end_once(lambda: (tmp_path / "saw").exists() and (tmp_path / "saw").read_text() != "")
    first = child(tmp_path, "first", slow, is_ready=(tmp_path / "ready").exists)
    supervise([first, child(tmp_path, "second", then)], notify=print)
    assert (tmp_path / "saw").read_text() == "True"


def test_what_does_not_come_up_ends_the_others_and_says_where_to_look(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    good = child(tmp_path, "good", code, is_ready=(tmp_path / "pid").exists)
    with pytest.raises(DeployError, match=r"\[NOT-STARTED\] bad ended at once\. Its log says why: .*bad\.log"):
        supervise([good, child(tmp_path, "bad", "raise SystemExit('no room')", is_ready=lambda: False)], notify=print)
    assert "no room" in (tmp_path / "bad.log").read_text()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_log_is_for_its_owner_and_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfl.deploy.logs._MAX_LOG_BYTES", 1000)
    log, aside = tmp_path / "loud.log", tmp_path / "loud.log.1"
    end_once(lambda: aside.exists() and 0 < log.stat().st_size < 1000)
    talk = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.05)"
    supervise([child(tmp_path, "loud", talk)], notify=print, every=0.2)
    assert aside.stat().st_size > 1000
    assert set(log.read_text()) == {"x", "\n"}  # the process went on appending, and left no hole
    assert [path.stat().st_mode & 0o077 for path in (log, aside)] == [0, 0]


def test_a_command_that_knows_nothing_of_it_dies_with_its_starter_too(tmp_path: Path) -> None:
    sleeper = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    starter = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'medfl.system.parent_watch', sys.executable, '-c', "
        f"{sleeper!r}], start_new_session=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE) as parent:
        end = time.monotonic() + 30
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        parent.kill()
    pid = int((tmp_path / "pid").read_text())
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_look_that_takes_long_keeps_nothing_from_being_started_again_or_ended(tmp_path: Path) -> None:
    begun, go_on, looks = threading.Event(), threading.Event(), list[int]()

    def look() -> None:
        looks.append(1)
        begun.set()
        go_on.wait(60)

    code = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); import time; time.sleep(0.3)"
    end_once(lambda: begun.is_set() and len((tmp_path / "starts").read_text()) >= 4)
    try:
        assert (
            supervise([child(tmp_path, "restless", code, restart_delay=0.1)], notify=lambda line: None, on_tick=look, every=0.1)
            == 0
        )
        assert len((tmp_path / "starts").read_text()) >= 4
        assert looks == [1]
    finally:
        go_on.set()


def test_the_last_word_of_what_ended_is_shown(tmp_path: Path) -> None:
    told: list[str] = []
    end_once(lambda: bool(told))
    code = "print('site.toml: there is no such key.\\x1b[31m\\n'); raise SystemExit(1)"
    supervise([child(tmp_path, "worker", code, restart_delay=600.0)], notify=told.append)
    assert told[0].endswith("Its last line: site.toml: there is no such key.[31m")  # without what could steer a terminal
