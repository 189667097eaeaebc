"""Whole runs of hospitals that let less out: the same models, and scores that differ by no more than they are told to."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.report.render import render
from medfl.report.report_data import read_report_data
from medfl.runs import checkpoint_files
from medfl.runs.history import Event, read_history
from medfl.simulation.simulated_run import plan_simulation
from medfl.site import init_site, read_site

ROUNDS = 4


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    return make_nodule_images(tmp_path / "hospitals", hospitals=2, patients=80, seed=1)


def simulate(study: Path, hospitals: Path, runs: Path, policy: str, **changes: object) -> tuple[Path, list[Event]]:
    """Run the study where every hospital has this policy, and return the run and its history."""
    for file in hospitals.glob("*/site.toml"):
        head, _, _ = file.read_text().partition("[policy]")
        file.write_text(f"{head}[policy]\n{policy}")
        read_site(file)
    overrides = {"rounds": ROUNDS, "arms": "federated,local", "splits.validation": 0.3, "splits.test": 0.3} | changes
    simulation = plan_simulation(study, [hospitals], runs, overrides)  # type: ignore[arg-type]
    simulation.start(workers=2)
    return simulation.run, read_history(simulation.run)


def init_policy(folder: Path) -> str:
    """Return the table [policy] of the file that a new hospital gets."""
    text = init_site(folder, "new", "images").read_text().partition("[policy]")[2]
    return text.partition("\n[")[0]


def bits_of(run: Path) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in checkpoint_files.load(run, "final").arrays.items()}


def scores_of(events: list[Event]) -> list[float]:
    return [event["score"] for event in events if event["event"] in ("round", "scored") and event["arm"] == "federated"]


@pytest.mark.slow
def test_the_policy_of_a_new_hospital_changes_no_bit_of_a_model(nodule_study: Path, hospitals: Path, tmp_path: Path) -> None:
    open_run, open_events = simulate(nodule_study, hospitals, tmp_path / "open", 'min-count = 10\nscores = "exact"\n')
    run, events = simulate(nodule_study, hospitals, tmp_path / "strict", init_policy(tmp_path / "new"))
    assert bits_of(run) == bits_of(open_run)
    assert scores_of(events) == scores_of(open_events)  # of histograms, which are counts
    assert events[-1]["best-round"] == open_events[-1]["best-round"]
    (test,) = (event for event in events if event["event"] == "test" and event["arm"] == "federated")
    (open_test,) = (event for event in open_events if event["event"] == "test" and event["arm"] == "federated")
    assert test["derived"]["auroc"] == open_test["derived"]["auroc"]
    assert test["eval"]["eval.loss"] == pytest.approx(open_test["eval"]["eval.loss"], abs=0.01)
    trained = [event["sites"]["hospital-1"]["metrics"] for event in events if event["event"] == "round"]
    assert all(numbers["train.loss"] > 0 and numbers["eval.loss"] == 0 for numbers in trained)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ['scores = "none"\n', 'score-noise = "1.0,1e-5"\n'], ids=["none", "noise"])
def test_a_study_trains_to_its_last_round_on_scores_that_are_hidden_or_noisy(
    nodule_study: Path, hospitals: Path, tmp_path: Path, policy: str
) -> None:
    open_run, _ = simulate(nodule_study, hospitals, tmp_path / "open", 'scores = "exact"\n')
    run, events = simulate(
        nodule_study, hospitals, tmp_path / "closed", policy, **{"strategy.patience": 1 if "none" in policy else 0}
    )
    assert bits_of(run) == bits_of(open_run)
    assert events[-1]["status"] == "completed"
    assert sum(event["event"] == "round" and event["arm"] == "federated" for event in events) == ROUNDS
    page = render(read_report_data(run))
    if "none" in policy:
        assert set(scores_of(events)) == {None}
        assert events[-1]["best-round"] == ROUNDS
        assert not re.findall(r"\b(nan|None)\b", re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL))
        assert "hidden" in page
