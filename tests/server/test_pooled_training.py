"""The arms of a comparison in a whole run: all are tested on the same patients, and none trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfl.errors import ConfigError
from medfl.evaluation.patient_results import read_patient_results
from medfl.models.run_models import find_arrays
from medfl.runs.history import read_history
from medfl.runs.run_folder import Run
from medfl.server.joining import with_simulated_sites
from medfl.study import read_app, read_app_and_run_config, read_study_file
from tests.server.direct_grid import conduct

ARMS = ("federated", "local", "pooled")


@pytest.fixture
def run(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> Path:
    """Return the folder of a run of one round with all arms."""
    changes: dict[str, Any] = {"arms": ",".join(ARMS), "rounds": 1, "simulation.data": str(nodule_hospitals)}
    changes |= {"server.out": str(tmp_path / "runs"), "server.run": "one"}
    _, config = read_app_and_run_config(read_study_file(nodule_study), changes)
    conduct(config)
    return tmp_path / "runs" / "nodule" / "one"


def test_all_arms_are_compared_on_the_same_patients(run: Path) -> None:
    events = read_history(run)
    patients = {arm: set(read_patient_results(run, arm=arm)) for arm in ARMS}
    assert patients["federated"]
    assert patients["pooled"] == patients["local"] == patients["federated"]
    tested = {arm: [e for e in events if e["event"] == "test" and e["arm"] == arm] for arm in ARMS}
    assert [len(tested[arm]) for arm in ARMS] == [1, 3, 1]
    assert len({event["eval"]["eval.patients"] for arm in ARMS for event in tested[arm]}) == 1
    scored = {e["arm"]: e["sites"] for e in events if e["event"] == "scored"}
    validated = {arm: {site: s["metrics"]["eval.patients"] for site, s in scored[arm].items()} for arm in ARMS}
    assert validated["pooled"] == validated["local"] == validated["federated"]


def test_pooled_training_takes_the_steps_and_patients_of_all_sites(run: Path) -> None:
    events = read_history(run)
    rounds = {e["arm"]: e["sites"].values() for e in events if e["event"] == "round"}
    sums = {
        arm: [sum(site["metrics"][f"train.{what}"] for site in rounds[arm]) for what in ("steps", "patients", "samples")]
        for arm in ARMS
    }
    assert sums["pooled"] == sums["local"] == sums["federated"]
    assert len(rounds["pooled"]) == 1


def test_the_pooled_model_can_be_taken_out(run: Path) -> None:
    opened = Run.open(run)
    pooled, federated = (find_arrays(opened, arm, None, "best") for arm in ("pooled", "federated"))
    assert pooled.keys() == federated.keys()
    assert any((pooled[name] != federated[name]).any() for name in pooled)


def test_real_hospitals_are_not_asked_to_pool(nodule_study: Path) -> None:
    app = read_app(nodule_study, {"arms": "federated,pooled", "server.enrolled": "a,b"})
    with pytest.raises(ConfigError, match="no patient leaves a real hospital"):
        with_simulated_sites(app)
