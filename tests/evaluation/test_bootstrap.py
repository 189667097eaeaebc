"""Scores of other patients that might have come: numbers checked by hand, and against scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medfl.errors import RunError
from medfl.evaluation.bootstrap import (
    ClassifiedPatients,
    SegmentedPatients,
    all_patients,
    confidence_interval,
    draw_weights,
    read_patient_scores,
)
from medfl.study import Study, read_study

ONE_EACH = np.ones((1, 4))
PATIENTS = tuple(("a", f"pat-{k}") for k in range(4))


def test_dice_is_the_mean_over_classes_of_means_over_the_patients_in_whom_each_was_looked_for() -> None:
    test = SegmentedPatients(PATIENTS, np.array([[0.2, np.nan], [0.4, 0.8], [0.6, 0.6], [0.8, np.nan]]))
    assert test.score(ONE_EACH) == pytest.approx([(0.5 + 0.7) / 2])
    assert test.score(np.array([[2.0, 0, 0, 0]])) == pytest.approx([0.2])  # of the second class, nobody was drawn
    assert np.isnan(test.score(np.zeros((1, 4)))).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_auroc_of_drawn_patients_is_that_of_the_patients_repeated(classes: int) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(30) % classes
    scores = rng.dirichlet(np.ones(classes), 30).round(1)  # ties
    test = ClassifiedPatients(tuple(("a", str(k)) for k in range(30)), np.arange(30), truth, scores)
    weights = rng.integers(0, 4, (5, 30)).astype(float)
    for row, found in zip(weights, test.score(weights), strict=True):
        again = np.repeat(np.arange(30), row.astype(int))
        each = [roc_auc_score(truth[again] == c, scores[again, c]) for c in ([1] if classes == 2 else range(classes))]
        assert found == pytest.approx(np.mean(each))


def test_a_draw_takes_as_many_patients_as_there_are_and_repeats() -> None:
    weights = draw_weights(PATIENTS, draws=50)
    assert (weights.sum(axis=1) == 4).all()
    assert (weights == draw_weights(PATIENTS, draws=50)).all()


def test_an_interval_is_the_middle_95_percent_and_nothing_where_the_score_is_mostly_undefined() -> None:
    assert confidence_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))
    assert confidence_interval(np.array([0.5, np.nan, np.nan])) is None


def test_patients_of_several_tests_count_once() -> None:
    first = SegmentedPatients(PATIENTS[:3], np.zeros((3, 1)))
    other = SegmentedPatients(PATIENTS[2:], np.zeros((2, 1)))
    assert all_patients([first, other]) == PATIENTS


def test_the_folders_of_simulated_hospitals_are_read(nodule_study: Path, tmp_path: Path) -> None:
    study = read_study(nodule_study)
    assert read_patient_scores(tmp_path, study) is None
    for site in ("a", "b"):
        _tell(tmp_path, site, {"pat-1": [_unit("nodule", 0.9), _unit("clear", 0.2)], "pat-2": [_unit("clear", 0.6)]})
    test = read_patient_scores(tmp_path, study)
    assert test is not None
    assert test.patients == (("a", "pat-1"), ("a", "pat-2"), ("b", "pat-1"), ("b", "pat-2"))
    assert test.score(ONE_EACH) == pytest.approx([1.0])


def test_dice_by_patient_is_read(tmp_path: Path) -> None:
    values = {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,front,back"}
    study = Study.model_validate(
        {"name": "s", "rounds": 1, "task": values, "network": {"name": "unet"}, "loss": {"name": "dice-ce"}}
    )
    both = {"classes": {"front": {"dice": 0.5}, "back": {"dice": 0.7}}}
    _tell(tmp_path, "a", {"pat-1": both, "pat-2": {"classes": {"front": {"dice": 0.9}}}})
    test = read_patient_scores(tmp_path, study)
    assert test is not None
    assert test.score(np.ones((1, 2))) == pytest.approx([0.7])


def test_a_damaged_file_is_named_by_its_hospital(nodule_study: Path, tmp_path: Path) -> None:
    _tell(tmp_path, "a", {})
    (tmp_path / "sites" / "a" / "test.json").write_text("{")
    with pytest.raises(RunError, match="TEST-DAMAGED"):
        read_patient_scores(tmp_path, read_study(nodule_study))


def _unit(truth: str, nodule: float) -> dict[str, object]:
    return {"images": 1, "truth": truth, "probabilities": {"clear": 1 - nodule, "nodule": nodule}}


def _tell(run: Path, site: str, patients: dict[str, object]) -> None:
    folder = run / "sites" / site
    folder.mkdir(parents=True)
    (folder / "test.json").write_text(json.dumps({"split": "test", "patients": patients}))


def test_draws_by_hospital_have_as_many_patients_of_each_as_there_are() -> None:
    patients = [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4"), ("b", "5"), ("c", "6"), ("d", "7")]
    weights = draw_weights(patients, 50, by_hospital=True)
    for own in ([0, 2], [1, 3, 4], [5, 6]):  # the last are two hospitals of one patient
        assert weights[:, own].sum(axis=1) == pytest.approx(len(own))
    assert len(np.unique(weights, axis=0)) > 10


@pytest.mark.parametrize("size", [2, 5, 20])
def test_draws_by_hospital_vary_as_much_as_a_mean_does(size: int) -> None:
    patients = [(f"hospital-{k}", f"pat-{n}") for k in range(200) for n in range(size)]
    values = np.random.default_rng(1).normal(size=len(patients))
    means = draw_weights(patients, 4000, by_hospital=True) @ values / len(patients)
    expected = np.mean(values.reshape(200, size).var(axis=1, ddof=1)) / len(patients)
    assert means.var() == pytest.approx(expected, rel=0.1)
