"""Processes that work for another one: results, Ctrl-C, processes that are killed, and a parent that is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest

from medfl.system.pools import fork_context, map_isolated, map_processes, sigint_blocked, spawn_context

WORK = """
import os, time

def print_id(_):
    print(os.getpid(), flush=True)
    time.sleep(600)
"""
PARENT = """
import sys
import work
from medfl.system.pools import fork_context, map_processes, spawn_context

list(map_processes(work.print_id, [0], 1, spawn_context() if sys.argv[1] == "spawn" else fork_context(["json"])))
"""  # without a guard, as in a notebook: no process runs it again


def _double_late(number: int) -> int:
    time.sleep(0.3 if number == 1 else 0.0)
    return 2 * number


def _die_when_negative(number: int) -> int:
    if number < 0:
        os._exit(9)
    return 2 * number


def _hears_interrupts(_: int) -> bool:
    return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_results_come_with_their_indices_and_in_order_when_asked_for() -> None:
    results = list(map_processes(_double_late, [1, 2, 3], 2, spawn_context(), ordered=True))
    assert results == [(0, 2), (1, 4), (2, 6)]
    assert dict(map_processes(_double_late, [1, 2, 3], 2, spawn_context())) == dict(results)
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_breaks_the_pool_after_the_results_before_it() -> None:
    results = map_processes(_die_when_negative, [1, -1, 3], 1, spawn_context(), ordered=True)
    assert next(results) == (0, 2)
    with pytest.raises(BrokenProcessPool):
        next(results)
    assert multiprocessing.active_children() == []


def test_items_that_kill_their_process_are_found_and_the_rest_goes_on() -> None:
    results = map_isolated(_die_when_negative, [-1, 1, -2, -3, 5], spawn_context(), abs)
    assert list(results) == [(0, 1), (1, 2), (2, 2), (3, 3), (4, 10)]


def test_no_process_is_left_when_the_caller_stops_early() -> None:
    results = map_processes(_double_late, list(range(50)), 2, spawn_context())
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_no_more_items_are_worked_on_than_the_caller_soon_takes(tmp_path: Path) -> None:
    results = map_processes(Path.touch, [tmp_path / str(number) for number in range(20)], 1, spawn_context())
    next(results)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 3
    assert len(list(results)) == 19


def test_processes_ignore_ctrl_c() -> None:
    assert list(map_processes(_hears_interrupts, [0], 1, spawn_context())) == [(0, False)]


def test_ctrl_c_waits_until_the_workers_have_started_and_they_never_hear_it() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    inherited: list[bool] = []

    def start_workers() -> None:
        with sigint_blocked():
            os.kill(os.getpid(), signal.SIGINT)
            inherited.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    try:
        with pytest.raises(KeyboardInterrupt):
            start_workers()
        assert inherited == [True]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_process_is_gone_soon_after_the_one_that_started_it_was_killed(tmp_path: Path, method: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    (tmp_path / "work.py").write_text(WORK)
    with subprocess.Popen([sys.executable, str(script), method], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(60)
        end = time.monotonic() + 120
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
            time.sleep(0.05)
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_processes_see_what_was_set_after_the_server_that_forks_them_had_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("first", "second"):
        monkeypatch.setenv("MEDFL_STORE", value)
        assert list(map_processes(os.getenv, ["MEDFL_STORE"], 1, fork_context(["json"]))) == [(0, value)]
