"""Patients of external hospitals: apart from those of hospitals that took part, and counted as the mean of all models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import ClassifiedPatients, PatientScores, SegmentedPatients, read_patient_scores
from medfl.evaluation.external_scores import read_external_scores, score_with_interval
from medfl.evaluation.paired_tests import paired_p_value
from medfl.evaluation.strategy_comparison import at_external_hospitals, summarize
from medfl.study import Study
from medfl.testing.sites import make_study


@pytest.fixture
def study() -> Study:
    return make_study(evaluation={"external": "out"})


def write_test(folder: Path, dice: list[float]) -> None:
    folder.mkdir(parents=True)
    (name,) = make_study().task.foreground
    patients = {f"pat-{k}": {"classes": {name: {"dice": value}}} for k, value in enumerate(dice)}
    (folder / "test.json").write_text(json.dumps({"patients": patients}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run in which two hospitals trained, and one is external."""
    for site in ("a", "b"):
        write_test(tmp_path / "sites" / site, [0.9, 0.9])
        write_test(tmp_path / "sites" / site / "local" / site, [0.8, 0.8])
    write_test(tmp_path / "sites" / "out", [0.5, 0.5, 0.5, 0.5])
    write_test(tmp_path / "sites" / "out" / "local" / "a", [0.1, 0.2, 0.3, 0.4])
    write_test(tmp_path / "sites" / "out" / "local" / "b", [0.3, 0.4, 0.5, 0.6])
    write_test(tmp_path / "sites" / "out" / "pooled", [0.7, 0.7, 0.7, 0.7])
    return tmp_path


def scored(test: PatientScores | None) -> PatientScores:
    assert test is not None
    return test


def external(run: Path, study: Study, arm: str) -> tuple[float, set[tuple[str, str]]]:
    tests = read_external_scores(run, study, arm)
    return score_with_interval(tests)[0], {patient for test in tests for patient in test.patients}


def test_the_headline_is_over_the_hospitals_that_took_part(run: Path, study: Study) -> None:
    assert {site for site, _ in scored(read_patient_scores(run, study)).patients} == {"a", "b"}
    assert {site for site, _ in scored(read_patient_scores(run, study, "local")).patients} == {"a", "b"}


def test_every_arm_has_a_score_on_external_patients_and_local_models_their_mean(run: Path, study: Study) -> None:
    found = [external(run, study, arm) for arm in ("federated", "pooled", "local")]
    assert [score for score, _ in found] == pytest.approx([0.5, 0.7, 0.35])
    assert all(patients == {("out", f"pat-{k}") for k in range(4)} for _, patients in found)


def test_a_model_that_was_not_tested_on_every_external_patient_is_left_out_of_the_mean(run: Path, study: Study) -> None:
    write_test(run / "sites" / "out" / "local" / "c", [1.0])
    assert external(run, study, "local")[0] == pytest.approx(0.35)


def test_a_run_without_external_hospitals_has_none(run: Path) -> None:
    assert read_external_scores(run, make_study()) == ()


def classified(scores: Any, truth: Any) -> ClassifiedPatients:
    patients = tuple(("out", f"pat-{k}") for k in range(len(truth)))
    return ClassifiedPatients(patients, np.arange(len(truth)), np.array(truth), np.stack([1 - scores, scores], axis=1))


def test_the_mean_over_models_is_of_their_auroc_and_not_the_auroc_of_their_mean() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(40) % 2
    answers = [rng.normal(truth.astype(float)) for _ in range(3)]
    alone, other = tuple(classified(each, truth) for each in answers), classified(rng.normal(size=40), truth)
    runs = [
        ArmRun("federated", "fedavg", 1, 1, 1, 0, other, external=(other,)),
        ArmRun("local", "", 1, 1, 1, 0, other, external=alone),
    ]
    (_, local), (difference,) = summarize(at_external_hospitals(runs))
    assert local.score == pytest.approx(np.mean([roc_auc_score(truth, each) for each in answers]))
    assert local.score < roc_auc_score(truth, np.mean(answers, axis=0))
    assert difference.p_value == pytest.approx(paired_p_value([other], list(alone)))


def test_arms_are_compared_on_external_patients_apart() -> None:
    inside = SegmentedPatients(tuple(("a", f"pat-{k}") for k in range(20)), np.full((20, 1), 0.9))
    patients, dice = tuple(("out", f"pat-{k}") for k in range(20)), np.linspace(0.4, 0.8, 20)[:, None]
    together, *alone = (SegmentedPatients(patients, dice - loss) for loss in (0.0, 0.1, 0.3))
    runs = [
        ArmRun("federated", "fedavg", 1, 1, 1, 0, inside, external=(together,)),
        ArmRun("local", "", 1, 1, 1, 0, inside, external=tuple(alone)),
    ]
    summaries, (difference,) = summarize(at_external_hospitals(runs))
    assert [each.score for each in summaries] == pytest.approx([0.6, 0.4])
    assert difference.difference == pytest.approx(0.2)
    assert difference.verdict == "higher"
    assert summarize(runs)[1][0].verdict == "not known"
