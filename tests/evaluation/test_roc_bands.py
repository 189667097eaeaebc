"""ROC curves averaged over hospitals, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from medfl.evaluation.bootstrap import ClassifiedPatients
from medfl.evaluation.roc_bands import GRID, average_roc


def classified(hospital: str, scores: list[float], truth: list[int]) -> ClassifiedPatients:
    first = np.array(scores)
    patients = tuple((hospital, f"pat-{k:03d}") for k in range(len(truth)))
    return ClassifiedPatients(patients, np.arange(len(truth)), np.array(truth), np.stack([1 - first, first], axis=1))


def drawn(hospital: str, count: int, shift: float, seed: int) -> ClassifiedPatients:
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 2
    return classified(hospital, list(1 / (1 + np.exp(-rng.normal(shift * truth, 1)))), list(truth))


def test_of_one_hospital_it_is_the_curve_of_scikit_learn() -> None:
    test = drawn("a", 60, 1.5, 1)
    band = average_roc([[test]])
    assert band is not None
    x, y, _ = roc_curve(test.truth, test.probabilities[:, 1], drop_intermediate=False)
    assert band.sensitivity == pytest.approx(np.interp(GRID, x, y))
    assert band.low is not None
    assert band.high is not None
    assert np.all(band.low[1:-1] <= band.sensitivity[1:-1] + 1e-9)
    assert np.all(band.high[1:-1] >= band.sensitivity[1:-1] - 1e-9)


def test_the_area_is_the_mean_auroc_within_hospitals_weighted_by_patients() -> None:
    large, small = drawn("a", 90, 2.0, 2), drawn("b", 30, 0.3, 3)
    band = average_roc([[large], [small]])
    assert band is not None
    areas = [roc_auc_score(test.truth, test.probabilities[:, 1]) for test in (large, small)]
    assert np.trapezoid(band.sensitivity, GRID) == pytest.approx((90 * areas[0] + 30 * areas[1]) / 120, abs=0.01)


def test_a_hospital_without_the_finding_counts_for_nothing_and_alone_gives_no_curve() -> None:
    test, without = drawn("a", 40, 1.0, 4), classified("b", [0.2, 0.9], [0, 0])
    alone, together = average_roc([[test]]), average_roc([[test], [without]])
    assert alone is not None
    assert together is not None
    assert together.sensitivity == pytest.approx(alone.sensitivity)
    assert average_roc([[without]]) is None
