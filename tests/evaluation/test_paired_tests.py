"""Tests of paired differences, against SciPy, against published numbers, and under no difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, SegmentedPatients
from medfl.evaluation.paired_tests import auroc_parts, holm, paired_p_value, signed_rank_p_value


def classified(first: Floats, truth: list[int], sites: str = "") -> ClassifiedPatients:
    patients = tuple((site, f"pat-{k}") for k, site in enumerate(sites or "a" * len(truth)))
    return ClassifiedPatients(patients, np.arange(len(truth)), np.array(truth), np.stack([1 - first, first], axis=1))


def test_the_variance_of_an_auroc_is_that_of_delong_by_its_definition() -> None:
    rng = np.random.default_rng(1)
    positive = np.arange(30) < 12
    scores = np.round(rng.normal(positive.astype(float)), 1)  # with ties
    auroc, parts = auroc_parts(scores, positive, np.arange(30), 30)
    pairs = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    variance = np.var(pairs.mean(1), ddof=1) / 12 + np.var(pairs.mean(0), ddof=1) / 18
    assert auroc == pytest.approx(roc_auc_score(positive, scores))
    assert np.sum(parts**2) == pytest.approx(variance)


def test_images_of_one_patient_count_as_one_patient() -> None:
    rng = np.random.default_rng(2)
    positive = np.arange(20) < 8
    scores = rng.normal(positive.astype(float))
    once = auroc_parts(scores, positive, np.arange(20), 20)
    thrice = auroc_parts(np.tile(scores, 3), np.tile(positive, 3), np.tile(np.arange(20), 3), 20)
    assert thrice[0] == pytest.approx(once[0])
    assert thrice[1] == pytest.approx(once[1])


def test_the_difference_of_two_curves_is_tested_on_the_same_patients() -> None:
    rng = np.random.default_rng(3)
    truth = [k % 2 for k in range(60)]
    one = rng.normal(np.array(truth, float))
    other = one + rng.normal(scale=0.4, size=60)
    first, second = classified(one, truth), classified(other, truth)
    parts = [auroc_parts(x, np.array(truth) == 1, np.arange(60), 60) for x in (one, other)]
    z = (parts[0][0] - parts[1][0]) / math.sqrt(np.sum((parts[0][1] - parts[1][1]) ** 2))
    assert paired_p_value([first], [second]) == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert paired_p_value([first], [first]) == 1.0


def test_a_hospital_with_one_patient_of_a_class_leaves_the_difference_of_auroc_open() -> None:
    rng = np.random.default_rng(4)
    truth = [0, 1] * 10 + [0, 0, 0, 1]
    first, second = (classified(rng.normal(size=24), truth, "a" * 20 + "b" * 4) for _ in range(2))
    assert paired_p_value([first], [second]) is None


def test_dice_is_compared_by_the_signed_ranks_of_patients_with_seeds_averaged() -> None:
    rng = np.random.default_rng(5)
    patients = tuple(("a", f"pat-{k}") for k in range(15))
    one, other = rng.uniform(size=(2, 2, 15, 2))  # model, seed, patient, class
    one[:, 3, 1] = math.nan  # a class that nobody annotated
    tests = [[SegmentedPatients(patients, dice) for dice in seeds] for seeds in (one, other)]
    expected = np.nanmean(one, axis=(0, 2)) - other.mean(axis=(0, 2))
    p_value = paired_p_value(tests[0], tests[1])
    assert p_value == pytest.approx(stats.wilcoxon(expected).pvalue)


@pytest.mark.parametrize(("differences", "p_value"), [([], None), ([0.1], None), ([0.0, 0.0, 0.0], 1.0)])
def test_what_cannot_be_tested_is_not_called_a_difference(differences: list[float], p_value: float | None) -> None:
    assert signed_rank_p_value(np.array(differences)) == p_value


def test_p_values_are_corrected_by_the_steps_of_holm() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.04, 0.09, None, 0.09])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("kind", ["dice", "auroc"])
def test_without_a_difference_one_test_in_twenty_says_that_there_is_one(kind: str) -> None:
    rng = np.random.default_rng(6)
    found = 0
    for _ in range(400):
        if kind == "dice":
            p_value = signed_rank_p_value(rng.normal(size=30))
        else:
            truth = [k % 2 for k in range(60)]
            case = rng.normal(np.array(truth, float))
            tests = [classified(case + rng.normal(size=60), truth, "a" * 30 + "b" * 30) for _ in range(2)]
            p_value = paired_p_value([tests[0]], [tests[1]])
        assert p_value is not None
        found += p_value < 0.05
    assert 0.03 <= found / 400 <= 0.07
