"""Simulation from Python: its events, how it is stopped, and no guard in the script that starts it."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import medfl
from medfl import RunEvent
from medfl.api import run_simulation
from medfl.api.followed_run import run_followed
from medfl.errors import QuorumError
from medfl.runs import read_history
from medfl.testing.sites import make_study


def test_the_callback_gets_each_event_once_in_this_thread(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    events: list[RunEvent] = []
    threads: set[threading.Thread] = set()

    def note(event: RunEvent) -> None:
        events.append(event)
        threads.add(threading.current_thread())

    run = medfl.simulate(nodule_study, [nodule_hospitals], tmp_path / "runs", workers=2, progress=note)
    assert [event.values for event in events] == read_history(run.path)
    assert threads == {threading.current_thread()}
    first, *joined, last = [str(event) for event in events if event.kind in ("start", "joined", "end")]
    assert first == "nodule: the run has started"
    assert sorted(joined) == [f"hospital-{k} joined with 8 training patients" for k in (1, 2, 3)]
    assert last == "the run is over: completed."
    assert (run.path / "report.html").is_file()


@pytest.mark.parametrize("error", [ValueError("enough"), KeyboardInterrupt()])
def test_an_exception_in_the_callback_stops_the_run_and_says_what_was_kept(
    error: BaseException, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    def raise_after_a_round(event: RunEvent) -> None:
        if event.kind == "round":
            raise error

    study = medfl.open_study(nodule_study).change(rounds=100_000)
    with pytest.raises(type(error)) as caught:
        medfl.simulate(study, nodule_hospitals, tmp_path / "runs", workers=2, progress=raise_after_a_round)
    assert caught.value is error
    (note,) = error.__notes__
    (stopped,) = medfl.list_runs(tmp_path / "runs")
    assert stopped.status == "stopped"
    assert f"of 100000: the history, the report and the last models are in {stopped.path}." in note
    assert f"medfl resume {stopped.path}" in note
    assert (stopped.path / "report.html").is_file()
    assert multiprocessing.active_children() == []
    assert not medfl.open_run(stopped.path).model(which="final").training


def test_an_error_of_the_run_is_raised_after_its_last_event(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    events: list[RunEvent] = []
    study = medfl.open_study(nodule_study).change(strategy={"quorum": 4, "wait": 1})
    with pytest.raises(QuorumError, match="TOO-FEW-SITES"):
        medfl.simulate(study, nodule_hospitals, tmp_path / "runs", workers=1, progress=events.append)
    assert str(events[-1]).startswith("the run is over: failed. [TOO-FEW-SITES]")


@pytest.mark.parametrize(
    ("wrong", "said"), [({"workers": -1}, "at least 1, or 0 for"), ({"engine": "Ray"}, "'embedded', 'ray', not 'Ray'")]
)
def test_a_wrong_engine_or_number_of_workers_is_refused_at_once(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        medfl.simulate(tmp_path / "no study", tmp_path, **wrong)
    with pytest.raises(ValueError, match=said):
        run_simulation(None, **wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_script_needs_no_guard(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    """As a notebook has none: workers that ran the script again would start simulations of their own."""
    script = tmp_path / "script.py"
    script.write_text(
        "import medfl\n"
        f"run = medfl.simulate({str(nodule_study)!r}, {str(nodule_hospitals)!r}, {str(tmp_path / 'runs')!r}, workers=2)\n"
        "print(run.status)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stdout) == (0, "completed\n"), done.stderr
    assert len(medfl.list_runs(tmp_path / "runs")) == 1


def test_ctrl_c_waits_for_what_the_run_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the processes of an engine, which outlive a run whose clean-up is cut short."""
    cleaned: list[bool] = []

    class Slow:
        run, study = tmp_path / "run", make_study()

        def start(self, engine: str, workers: int, stop: threading.Event) -> None:
            time.sleep(0.5)  # the other thread waits by now
            signal.pthread_kill(main, signal.SIGINT)
            stop.wait(60)
            time.sleep(1.0)
            cleaned.append(True)
            raise KeyboardInterrupt

    main = threading.main_thread().ident
    assert main is not None
    with pytest.raises(KeyboardInterrupt):
        run_followed(Slow(), "embedded", 1)  # type: ignore[arg-type]
    assert cleaned == [True]
