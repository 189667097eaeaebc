"""Calibration, against scikit-learn, by hand, and how often its intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, draw_weights
from medfl.evaluation.calibration import calibrate, calibration_interval
from medfl.metrics import classification_metrics, derive
from medfl.testing.sites import make_study


def classified(positive: Floats, truth: NDArray[np.generic]) -> ClassifiedPatients:
    patients = tuple((f"hospital-{k % 3}", f"pat-{k}") for k in range(len(truth)))
    return ClassifiedPatients(
        patients, np.arange(len(truth)), truth.astype(np.int64), np.stack([1 - positive, positive], axis=1)
    )


def with_draws(test: ClassifiedPatients) -> Floats:
    return np.concatenate([np.ones((1, len(test.patients))), draw_weights(test.patients, 400, by_hospital=True)])


def test_scores_are_those_of_scikit_learn_and_of_the_reports_of_runs() -> None:
    rng = np.random.default_rng(1)
    positive = rng.uniform(size=90)
    truth = rng.uniform(size=90) < positive**2
    test, study = classified(positive, truth), make_study("classification")
    got = calibrate([test], with_draws(test))
    names = [name for _, name in test.patients]
    told = derive(study, classification_metrics(names, list(test.truth), test.probabilities, study.task.classes, 0.0))
    assert got.ece == pytest.approx(told["calibration-error"])
    assert got.brier == pytest.approx(brier_score_loss(truth, positive))
    assert got.brier_interval is not None
    assert got.brier_interval[0] < got.brier < got.brier_interval[1]


def test_the_brier_score_of_three_classes_is_the_sum_of_squares() -> None:
    test = ClassifiedPatients((("a", "1"), ("a", "2")), np.arange(2), np.array([0, 2]), np.array([[1, 0, 0], [0.5, 0.5, 0.0]]))
    assert calibrate([test], np.ones((1, 2))).brier == pytest.approx((0 + 0.25 + 0.25 + 1) / 2)


def test_bins_of_all_seeds_are_kept_for_a_diagram() -> None:
    first = classified(np.array([0.9, 0.9, 0.9, 0.52]), np.array([1, 1, 0, 0]))
    second = classified(np.array([0.1, 0.9, 0.9, 0.52]), np.array([1, 1, 1, 0]))
    got = calibrate([first, second], with_draws(first))
    assert [each.count for each in got.bins] == [2, 6]
    assert [each.confidence for each in got.bins] == pytest.approx([0.52, 0.9])
    assert [each.accuracy for each in got.bins] == pytest.approx([0, 4 / 6])
    assert got.ece == pytest.approx((0.52 + 3 * 0.9 - 2) / 4)  # of each seed


def test_a_calibrated_model_is_not_called_wrong_though_few_patients_never_agree_with_it() -> None:
    rng = np.random.default_rng(2)
    positive = rng.uniform(size=60)
    test = classified(positive, rng.uniform(size=60) < positive)
    got = calibrate([test], with_draws(test))
    assert got.ece_interval is not None
    assert got.ece_interval[0] == 0.0
    assert got.ece_if_calibrated == pytest.approx(got.ece, rel=0.5)
    assert got.ece_if_calibrated > 0.05


def test_twenty_right_predictions_that_were_nearly_sure_leave_room_for_errors() -> None:
    interval = calibration_interval(np.array([20.0]), np.array([19.8]), np.array([20.0]))
    assert interval is not None
    assert interval[0] == 0.0
    assert interval[1] == pytest.approx(1 - 0.025 ** (1 / 20) - 0.01, abs=0.02)  # Clopper and Pearson 1934


def test_without_a_gap_nothing_is_known() -> None:
    assert calibration_interval(np.array([4.0]), np.array([4.0]), np.array([4.0])) is None
