"""What an arm of a comparison took: its steps and its bytes, with those of the arm that it begins with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medfl.evaluation.arm_runs import read_arm_runs
from medfl.runs import Run
from medfl.simulation.simulated_run import SimulatedRun
from medfl.simulation.strategy_specs import parse_strategy_specs
from medfl.simulation.sweep_runner import PlannedRun, RunResult
from medfl.study import StudyApp
from medfl.study.study_file import StudyFile
from medfl.testing.sites import make_study

SITES = ("a", "b")
STUDY = make_study(arms="federated,local,fine-tuned")


@pytest.fixture
def result(tmp_path: Path) -> RunResult:
    """Return a run of three arms, each of one round, in which two hospitals got a first model of 5000 bytes."""
    app = StudyApp(STUDY)
    run = Run.create(tmp_path, app)
    for site in SITES:
        run.history.append({"event": "joined", "site": site, "train": 1, "bytes-down": 5000})
        for folder in ("", f"local/{site}", "fine-tuned"):
            (run.site_folder(site) / folder).mkdir(parents=True, exist_ok=True)
            scores = {f"pat-{k}": {"classes": {name: {"dice": 0.5} for name in STUDY.task.foreground}} for k in range(2)}
            (run.site_folder(site) / folder / "test.json").write_text(json.dumps({"patients": scores}))
    for arm in STUDY.arms:
        answers = {site: {"metrics": {"train.steps": 3, "train.samples": 6}} for site in SITES}
        run.history.append({"event": "round", "arm": arm, "round": 1, "sites": answers, "bytes-up": 600, "bytes-down": 800})
    (spec,), _ = parse_strategy_specs(["fedavg"])
    return RunResult(PlannedRun(spec, 1, SimulatedRun(StudyFile(tmp_path, "", {}), app, {}, (), run.path)), "completed")


def test_a_first_model_that_was_sent_whole_counts_for_the_arms_that_begin_with_the_federated(result: RunResult) -> None:
    runs = {arm.arm: arm for arm, _ in read_arm_runs([result], STUDY)}
    assert {arm: (runs[arm].steps, runs[arm].bytes) for arm in STUDY.arms} == {
        "federated": (6, 11_400),
        "local": (6, 0),
        "fine-tuned": (12, 11_400),
    }
