"""Who pools by hand, with each patient in the split that he or she has at the hospital, gets what the arm `pooled` gives."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.store.prepare import prepare
from medfl.data.store.prepared_data import PreparedCase
from medfl.runs.history import read_history
from medfl.study import read_app, read_app_and_run_config, read_study_file
from tests.server.direct_grid import conduct

STEPS = 2  # of each of three hospitals, in a round


def test_pooled_by_hand_and_the_arm_have_the_same_test_patients_and_the_same_score(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    app = read_app(nodule_study, {"simulation.data": str(nodule_hospitals)})
    cases = [case for site in read_simulated_sites(app.simulation) for case in prepare(site, app.study).cases]
    assert len(cases) > 30
    batch = sum(case.split == "train" for case in cases)  # whole, so that the order in which cases are drawn is nothing
    fixed: dict[str, Any] = {"rounds": 2, "training.batch-size": batch, "augmentation.flip": ""}
    arm = fixed | {"arms": "pooled", "training.local-steps": STEPS, "simulation.data": str(nodule_hospitals)}
    by_hand = fixed | {"training.local-steps": 3 * STEPS, "simulation.data": str(pool_by_hand(cases, tmp_path / "pooled"))}
    pooled_score, pooled_patients = conduct_and_read(nodule_study, arm, tmp_path / "arm", hospitals=3)
    hand_score, hand_patients = conduct_and_read(nodule_study, by_hand, tmp_path / "hand", hospitals=1)
    assert len(hand_patients) == len({case.patient for case in cases if case.split == "test"})
    assert [truth for truth, _ in hand_patients] == [truth for truth, _ in pooled_patients]
    assert [p for _, p in hand_patients] == pytest.approx([p for _, p in pooled_patients], abs=1e-5)
    assert len({round(p, 6) for _, p in hand_patients}) == len(hand_patients)  # so no other patients would have these
    assert hand_score == pytest.approx(pooled_score, abs=1e-9)


def pool_by_hand(cases: list[PreparedCase], folder: Path) -> Path:
    """Make one hospital of all cases, whose index names the split of each."""
    (folder / "all" / "data").mkdir(parents=True)
    with (folder / "all" / "data" / "index.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient", "image", "label", "split"])
        for number, case in enumerate(cases):
            (path,) = case.case.image.paths
            image = folder / "all" / "data" / f"{number:03d}.png"
            image.write_bytes(path.read_bytes())
            table.writerow([f"{path.parents[2].name} {path.stem[:4]}", image.name, ("clear", "nodule")[case.label], case.split])
    (folder / "all" / "site.toml").write_text('name = "all"\n[data]\nroot = "data"\nlayout = "csv"\n[policy]\nmin-count = 0\n')
    return folder


def conduct_and_read(study: Path, changes: dict[str, Any], out: Path, hospitals: int) -> tuple[float, list[tuple[str, float]]]:
    """Run a study, and return its score and, sorted, the truth and the probability of every test patient."""
    where = {"server.out": str(out), "server.run": "one", "simulation.store": str(out / "store")}
    conduct(read_app_and_run_config(read_study_file(study), changes | where)[1], nodes=hospitals)
    run = out / "nodule" / "one"
    (test,) = (event for event in read_history(run) if event["event"] == "test")
    files = [json.loads(file.read_bytes())["patients"] for file in run.glob("sites/**/test.json")]
    units = [unit for patients in files for of_one in patients.values() for unit in of_one]
    return test["derived"]["auroc"], sorted((unit["truth"], unit["probabilities"]["nodule"]) for unit in units)
