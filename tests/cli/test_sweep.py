"""`medfl sweep` on the command line."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.cli.sweep_display import SweepDisplay
from medfl.errors import ConfigError, EngineError
from medfl.report.leaderboard import build_leaderboard
from medfl.runs import Run
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import SimulatedRun
from medfl.simulation.sweep_runner import RunResult, plan_sweep

Sweeper = Callable[..., list[str]]


@pytest.fixture
def words(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> Sweeper:
    """Return the words of a command: ``words("fedavg,local", "--dry-run")``."""

    def of(strategies: str, *more: str) -> list[str]:
        places = ["--data", str(nodule_hospitals), "--out", str(tmp_path / "sweeps")]
        return ["sweep", str(nodule_study), "--strategies", strategies, *places, *more]

    return of


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: SimulatedRun, engine: str = "embedded", workers: int = 0) -> None:
        raise EngineError("ENGINE-LOST", "the workers are gone.")

    monkeypatch.setattr(SimulatedRun, "start", start)
    monkeypatch.setattr("medfl.simulation.worker_pool.warm_up", lambda: None)


def test_a_dry_run_lists_the_runs_and_starts_none(words: Sweeper, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, words("fedavg,ditto", "--seeds", "1,2", "--rounds", "6", "--dry-run", "--json"))
    runs = json.loads(done.stdout)["runs"]
    assert [(run["strategy"], run["seed"], run["rounds"]) for run in runs] == [
        ("fedavg", 1, 6),
        ("ditto", 1, 3),
        ("fedavg", 2, 6),
        ("ditto", 2, 3),
    ]
    assert "2 of 2 runs would be started" in CliRunner().invoke(app, words("fedavg,ditto", "--dry-run")).stdout
    assert not (tmp_path / "sweeps").exists()


def test_mistakes_are_reported_before_anything_runs(words: Sweeper, tmp_path: Path) -> None:
    assert isinstance(CliRunner().invoke(app, words("fedavgg")).exception, ConfigError)
    done = CliRunner().invoke(app, words("fedavg", "--seeds", "1,two"))
    assert done.exit_code == 2
    assert "two: seeds are whole numbers" in done.output
    assert "each seed once" in CliRunner().invoke(app, words("fedavg", "--seeds", "1,01")).output
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.usefixtures("broken")
def test_a_sweep_in_which_everything_fails_ends_with_1_and_the_reasons(words: Sweeper, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, words("fedavg,fedprox"))
    assert done.exit_code == 1
    assert done.stdout.count("[ENGINE-LOST]") == 2
    assert "run 2 of 2, fedprox, seed 3: failed: [ENGINE-LOST]" in done.stderr
    (board,) = (tmp_path / "sweeps").glob("nodule/*/board.json")
    assert [row["runs"][0]["status"] for row in json.loads(board.read_text())["rows"]] == ["failed", "failed"]


def test_the_display_tells_which_run_of_how_many_and_the_best_so_far(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    sweep = plan_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg", "fedprox:mu=0.1"])
    progress = SweepDisplay(sweep)
    assert "run 1 of 2" in _drawn(progress)
    assert "no run has been tested yet" in _drawn(progress)
    result = RunResult(sweep.runs[0], "failed", "why")
    progress.add_result(result, build_leaderboard(sweep, [result]))
    run = Run.create(sweep.folder / "runs", sweep.runs[1].simulation.app)
    run.history.append({"event": "round", "arm": "federated", "round": 1, "score": 0.75, "sites": {}, "seconds": 1.0})
    progress.update()
    drawn = _drawn(progress)
    assert "run 2 of 2" in drawn
    assert "round 1 of 2" in drawn
    assert "0.750 on validation patients" in drawn
    assert "failed" in drawn


def test_the_rounds_of_all_arms_of_a_run_are_counted(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    sweep = plan_sweep(
        nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], overrides={"rounds": 1}, arms=["federated", "local", "pooled"]
    )
    sweep = dataclasses.replace(sweep, runs=sweep.runs[1:])
    run = Run.create(sweep.folder / "runs", sweep.runs[0].simulation.app)
    for arm in ("local", "pooled"):
        run.history.append({"event": "round", "arm": arm, "round": 1, "score": None, "sites": {}, "seconds": 1.0})
    progress = SweepDisplay(sweep)
    progress.update()
    assert progress.run_line().endswith("round 2 of 2")


def test_the_display_of_a_comparison_shows_no_score_of_an_arm_that_it_does_not_name(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    sweep = plan_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], arms=["federated", "local", "pooled"])
    run = Run.create(sweep.folder / "runs", sweep.runs[1].simulation.app)
    run.history.append({"event": "round", "arm": "pooled", "round": 1, "score": 0.75, "sites": {}, "seconds": 1.0})
    run.history.append({"event": "test", "arm": "local", "score": 0.5625, "sites": {}})
    result = RunResult(sweep.runs[0], "completed", "")
    board = build_leaderboard(sweep, [result])
    scored = dataclasses.replace(board.rows[0], score=0.5625)
    progress = SweepDisplay(sweep)
    progress.add_result(result, dataclasses.replace(board, rows=(scored,)))
    progress.update()
    told = _drawn(progress) + progress.result_line() + progress.run_line()
    assert "0.750" not in told
    assert "0.56" not in told
    assert "highest so far" not in told
    assert "no run has been tested yet" not in told


@pytest.mark.slow
def test_a_sweep_ranks_what_it_ran_and_goes_on_after_ctrl_c(words: Sweeper, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medfl", *words("fedavg,fedprox:mu=0.5,fedavg+int8,local,krum", "--rounds", "3")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_hear_ctrl_c)
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and len(_ended(tmp_path)) < 2:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=180)
    assert process.returncode == 130, output
    (folder,) = (tmp_path / "sweeps").glob("nodule/*")
    assert f"medfl resume {folder}" in output
    before = {run for run in _ended(tmp_path) if read_history(run)[-1]["status"] == "completed"}
    assert len(before) >= 1
    resume = [sys.executable, "-m", "medfl", "resume", str(folder), "--json"]
    again = subprocess.run(resume, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    board = json.loads(again.stdout)
    rows = {row["strategy"]: row for row in board["rows"]}
    assert {folder / run["path"] for row in board["rows"] for run in row["runs"] if run["status"] == "completed"} >= before
    done = [row for row in board["rows"] if row["seeds-done"]]
    assert {row["strategy"] for row in done} >= {"fedavg", "fedprox:mu=0.5", "fedavg+int8", "local"}
    assert len({row["steps"] for row in done}) == 1  # the budget is matched
    assert rows["fedavg"]["score"] is not None
    assert rows["fedavg"]["interval"] is not None
    assert rows["fedavg+int8"]["bytes-up"] < rows["fedavg"]["bytes-up"]
    assert "krum" in (folder / "board.html").read_text()
    assert all((folder / run["path"] / "report.html").is_file() for row in done for run in row["runs"])


def _ended(folder: Path) -> list[Path]:
    runs = sorted(folder.glob("sweeps/nodule/*/runs/nodule/*"))
    return [run for run in runs if any(event["event"] == "end" for event in read_history(run))]


def _drawn(progress: SweepDisplay) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(progress)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def _hear_ctrl_c() -> None:
    """Undo what a shell does to programs that it starts in the background: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
