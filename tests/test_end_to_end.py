"""The main job as a user meets it: the demo, and a real data set. Minutes long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medfl.evaluation.arm_comparison import compare_arms
from medfl.runs.run_folder import Run
from medfl.simulation.simulated_run import plan_simulation

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_demo_makes_hospitals_trains_and_shows_that_together_beats_alone(tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    command = [sys.executable, "-m", "medfl", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "demo" / "runs" / "brain-tissue").glob("*/report.html")
    assert f"Report: {report}" in done.stdout
    assert "On other hospitals’ patients, the shared model reached a mean Dice of" in done.stdout
    assert "On other hospitals’ patients, the shared model reached a mean Dice of" in report.read_text()
    run = Run.open(report.parent)
    compared = compare_arms(run.history.read(), run.study)
    assert compared.gain_on_others > 0.05
    assert compared.federated > 0.8
    joined = [event for event in run.history.read() if event["event"] == "joined"]
    assert {event["site"]: event["excluded"] for event in joined} == {"hospital-a": {}, "hospital-b": {}, "hospital-c": {}}
    assert "Louis Collins" in (tmp_path / "demo" / "hospitals" / "NOTICE").read_text()


@pytest.mark.slow
@pytest.mark.realdata
def test_a_short_hippocampus_run_beats_the_mean_shape(real_data: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"rounds": 6, "simulation.store": str(tmp_path / "store")}
    study = ROOT / "sample_configs" / "hippocampus"
    simulation = plan_simulation(study, [real_data / "hippocampus"], tmp_path / "runs", changes)
    simulation.start()
    events = [json.loads(line) for line in (simulation.run / "history.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("joined") == 4
    (test,) = [event for event in events if event["event"] == "test"]
    assert test["eval"]["eval.patients"] >= 35
    assert test["derived"]["dice"] > 0.735  # what a mean shape alone reaches
