"""How long a sweep will take: by its completed runs, by a step, or not known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from medfl.clients.training import step_time
from medfl.runs import Run
from medfl.simulation import run_times
from medfl.simulation.run_times import estimate_time
from medfl.simulation.sweep_runner import Sweep, plan_sweep
from medfl.testing.sites import make_site, make_study

ARMS = ("federated", "local", "pooled", "ensemble", "fine-tuned")


@pytest.fixture
def sweep(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> Sweep:
    """Return a comparison of 8 rounds at three hospitals, with 5 steps in each."""
    changes = {"rounds": 8, "training.local-steps": 5}
    return plan_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], overrides=changes, arms=ARMS)


def test_a_measured_step_counts_for_all_arms(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "measure_step", lambda study, site: 0.5)
    time = estimate_time(sweep, workers=3)
    together, tuned, alone, in_one_place = 8 * 5, 2 * 5, 8 * 5, 8 * 15  # steps one after the other
    assert time.seconds == pytest.approx(0.5 * (together + tuned + alone + in_one_place))
    assert (time.basis, time.count) == ("step", 15 * (8 + 2 + 8 + 8))


def test_steps_of_epochs_are_counted_by_the_training_cases(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_time, "measure_step", lambda study, site: 1.0)
    changes = {"rounds": 1, "training.local-epochs": 2, "training.batch-size": 100}
    sweep = plan_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], overrides=changes)
    assert estimate_time(sweep, workers=1).seconds == pytest.approx(3 * 2)


def test_a_strategy_that_trains_two_models_takes_as_long_in_its_fewer_rounds(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_time, "measure_step", lambda study, site: 0.5)
    changes = {"rounds": 8, "training.local-steps": 5}
    fedavg, ditto = (
        estimate_time(plan_sweep(nodule_study, [nodule_hospitals], tmp_path, [name], overrides=changes), workers=3)
        for name in ("fedavg", "ditto")
    )
    assert ditto == fedavg == run_times.RunTime(0.5 * 8 * 5, "step", 3 * 8 * 5)


def test_external_hospitals_take_no_steps(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_time, "measure_step", lambda study, site: 0.5)
    changes = {"rounds": 8, "training.local-steps": 5, "evaluation.external": "hospital-3"}
    sweep = plan_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], overrides=changes)
    assert estimate_time(sweep, workers=3) == run_times.RunTime(0.5 * 8 * 5, "step", 2 * 8 * 5)


def test_completed_runs_say_more_than_a_step(sweep: Sweep) -> None:
    first, second = sweep.runs
    run = Run.create(sweep.folder / "runs", first.simulation.app)
    run.history.append({"event": "end", "status": "completed", "seconds": 20.0})
    known = dataclasses.replace(sweep, runs=(dataclasses.replace(first, finished=run.path), second))
    time = estimate_time(known)
    assert (time.seconds, time.basis, time.count) == (pytest.approx(20 / (8 + 2) * (8 + 8)), "runs", 1)


def test_nothing_is_left_of_a_sweep_that_is_completed(sweep: Sweep, tmp_path: Path) -> None:
    done = dataclasses.replace(sweep, runs=tuple(dataclasses.replace(each, finished=tmp_path) for each in sweep.runs))
    assert estimate_time(done).seconds == 0


def test_what_cannot_be_measured_is_not_known(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "measure_step", lambda study, site: None)
    assert estimate_time(sweep) == run_times.RunTime(None)


@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_a_step_takes_time_and_images_of_any_size_have_none(kind: str) -> None:
    study = make_study(kind, preprocessing={"size": "16,16"})
    assert step_time.measure_step(study, make_site()) > 0
    if kind == "segmentation":
        assert step_time.measure_step(make_study(), make_site()) is None
