"""Resumed runs: killed before any single write to the disk, a run ends with the bits that it would have had anyway."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.errors import RunError
from medfl.grids.grid_wrapper import GridWrapper
from medfl.runs import checkpoint_files, history, run_folder
from medfl.runs.history import History, read_history
from medfl.runs.run_folder import Run, run_status
from medfl.study import read_run_config
from tests.server.direct_grid import conduct

KINDS: dict[str, dict[str, Any]] = {
    "fedavg": {"arms": "federated,local", "strategy.patience": 2, "rounds": 4},
    "scaffold": {"strategy.name": "scaffold", "optimizer.name": "sgd", "optimizer.learning-rate": 0.05},
    "fedadam and top-k": {"strategy.name": "fedadam", "compression.codec": "top-k", "compression.keep": 0.5},
    "ditto": {"strategy.name": "ditto"},
    "fine-tuned": {"personal.layers": "head", "personal.fine-tune-steps": 1},
    "cyclic": {"strategy.name": "cyclic", "strategy.patience": 1, "rounds": 4},
    "all arms": {"arms": "federated,local,pooled,ensemble,fine-tuned", "personal.fine-tune-rounds": 2},
    "half of the sites": {"strategy.fraction": 0.7, "contribution.method": "alignment", "evaluation.every": 2},
}


class Killed(BaseException):
    """The process is gone."""


class Steps:
    """Counts every step that a crash can come between, and kills the process before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kill_before: int = -1) -> None:
        self.done: list[str] = []
        self._kill_before = kill_before
        for owner, name in (
            (run_folder, "write_file"),
            (checkpoint_files, "commit"),
            (checkpoint_files, "write_temporary"),
            (checkpoint_files, "remove"),
            (History, "append"),
            (GridWrapper, "push_messages"),
            (GridWrapper, "pull_messages"),
        ):
            monkeypatch.setattr(owner, name, self._counted(name, getattr(owner, name)))

    @property
    def count(self) -> int:
        return len(self.done)

    def to_try(self, begun: int, stride: int) -> list[int]:
        """Return steps before which to kill: some, and all around the writing of an event."""
        events = {k for k, name in enumerate(self.done) if name == "append"}
        return [k for k in range(begun, self.count) if k % stride == 0 or {k, k - 1} & events]

    def one_of_each(self, begun: int, stride: int) -> list[int]:
        """Return one of those steps, the last, for each pair of what was done before and what comes next."""
        return sorted({(self.done[k - 1], self.done[k]): k for k in self.to_try(begun, stride)}.values())

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if 0 <= self._kill_before <= self.count:  # nothing is written any more, not even an end
                raise Killed
            self.done.append(name)
            return function(*args, **kwargs)

        return counted


@contextmanager
def steps(kill_before: int = -1) -> Iterator[Steps]:
    with pytest.MonkeyPatch.context() as patch:
        yield Steps(patch, kill_before)


@pytest.fixture
def config_of(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def config(kind: str, out: Path, *, resume: bool = False, name: str = "run") -> dict[str, Any]:
        fixed = {"simulation.data": str(nodule_hospitals), "simulation.store": str(tmp_path / "prepared"), "rounds": 3}
        own = {"server.out": str(out), "server.run": name, "server.resume": resume}
        return read_run_config(nodule_study) | fixed | KINDS[kind] | own

    return config


def result_of(run: Path) -> dict[str, Any]:
    """Return everything that a reader takes from a run: the bits of its models, and what its history tells but times."""
    models = {name: checkpoint_files.load(run, name) for name in ("best", "final")}
    bits = {name: {k: np.asarray(v).tobytes() for k, v in found.arrays.items()} for name, found in models.items()}
    history = read_history(run)
    events = [plain(event) for event in history if event["event"] in ("round", "scored", "test")]
    measured = {event["round"]: plain(event) for event in history if event["event"] == "contribution"}  # the last counts
    return {
        "measured": measured,
        "bits": bits,
        "meta": models["best"].meta,
        "events": events,
        "kept": checkpoint_files.list_names(run / "checkpoints"),
    }


def plain(value: Any) -> Any:
    """Drop what is a time from an event."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("time", "seconds", "train.seconds", "eval.seconds")}
    return [plain(v) for v in value] if isinstance(value, list) else value


# what a killed process held is closed by its end
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "choose"),
    [
        *(pytest.param(kind, Steps.one_of_each, marks=pytest.mark.slow, id=kind) for kind in KINDS if kind != "all arms"),
        *(pytest.param(kind, Steps.to_try, marks=pytest.mark.long, id=f"{kind}, all") for kind in KINDS),
    ],
)
def test_a_run_that_was_killed_goes_on_to_the_same_end(
    kind: str, choose: Callable[[Steps, int, int], list[int]], config_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with steps() as whole:
        conduct(config_of(kind, tmp_path / "whole", name="run-whole"))
    expected = result_of(tmp_path / "whole" / "nodule" / "run-whole")
    begun = 4  # the folder, its study and its first event are there
    for step in choose(whole, begun, 7 if kind == "fedavg" else 40):
        out = tmp_path / f"killed-{step}"
        with steps(kill_before=step), pytest.raises(Killed):
            conduct(config_of(kind, out, name=f"run-{step:05d}"))
        conduct(config_of(kind, out, name=f"run-{step:05d}", resume=True))
        run = out / "nodule" / f"run-{step:05d}"
        assert result_of(run) == expected, f"killed before step {step} of {whole.count}"
        assert run_status(read_history(run)) == "completed"
        shutil.rmtree(out)


@pytest.mark.slow
def test_arms_that_begin_with_the_models_of_others_go_on_after_a_crash(
    config_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with steps() as whole:
        conduct(config_of("all arms", tmp_path, name="run-whole"))
    expected = result_of(tmp_path / "nodule" / "run-whole")
    last_model = max(k for k, name in enumerate(whole.done) if name == "commit")
    for step in (last_model - 6, whole.count - 3):  # in a round of the arm "fine-tuned"; after the first of its three tests
        with steps(kill_before=step), pytest.raises(Killed):
            conduct(config_of("all arms", tmp_path, name=f"run-{step:05d}"))
        conduct(config_of("all arms", tmp_path, name=f"run-{step:05d}", resume=True))
        assert result_of(tmp_path / "nodule" / f"run-{step:05d}") == expected


@pytest.mark.slow
def test_a_run_can_be_killed_again_while_it_is_resumed(config_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with steps() as whole:
        conduct(config_of("fedavg", tmp_path, name="one"))
    for step in (whole.count // 2, whole.count // 4, whole.count // 4):
        with steps(kill_before=step), pytest.raises(Killed):
            conduct(config_of("fedavg", tmp_path, resume=(tmp_path / "nodule" / "run").exists()))
    conduct(config_of("fedavg", tmp_path, resume=True))
    assert result_of(tmp_path / "nodule" / "run") == result_of(tmp_path / "nodule" / "one")


def test_a_run_that_cannot_be_resumed_is_refused(config_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    config = config_of("scaffold", tmp_path)
    with pytest.raises(RunError, match="RUN-MISSING"):
        conduct(config | {"server.resume": True})
    conduct(config)
    with pytest.raises(RunError, match="RUN-FINISHED"):
        conduct(config | {"server.resume": True})
    with pytest.raises(RunError, match="RUN-OTHER-STUDY"):
        conduct(config | {"server.resume": True, "rounds": 9})


def test_two_servers_never_write_one_run(config_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with steps(kill_before=20), pytest.raises(Killed):
        conduct(config_of("scaffold", tmp_path))
    before = read_history(tmp_path / "nodule" / "run")
    with Run.open(tmp_path / "nodule" / "run").lock(), pytest.raises(RunError, match="RUN-BUSY"):
        conduct(config_of("scaffold", tmp_path, resume=True))
    assert read_history(tmp_path / "nodule" / "run") == before


def test_a_round_that_did_not_count_is_forgotten_when_it_is_done_again(tmp_path: Path) -> None:
    log = History(tmp_path / history.HISTORY_FILE)
    for event in ({"event": "start"}, {"event": "round", "round": 1, "bytes-up": 5}, {"event": "round", "round": 2}):
        log.append(event)
    assert [e.get("round") for e in log.read()] == [None, 1, 2]
    log.append({"event": "resume"})
    log.append({"event": "round", "round": 2, "bytes-up": 5})
    assert [(e["event"], e.get("round")) for e in log.read()] == [("start", None), ("round", 1), ("resume", None), ("round", 2)]


def test_a_missing_strategy_state_is_reported_on_resuming(config_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with steps() as whole:
        conduct(config_of("scaffold", tmp_path, name="whole"))
    with steps(kill_before=whole.count - 6), pytest.raises(Killed):
        conduct(config_of("scaffold", tmp_path))
    for path in (tmp_path / "nodule" / "run" / "checkpoints").glob("federated-strategy-*"):
        path.unlink()
    with pytest.raises(RunError, match="CHECKPOINT-MISSING"):
        conduct(config_of("scaffold", tmp_path, resume=True))
