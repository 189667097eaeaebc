"""Scores by hospital, and intervals that know that the lowest was chosen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, SegmentedPatients, draw_weights
from medfl.evaluation.hospital_scores import find_lowest, logit_interval, scores_of_hospitals, summarize_hospitals


def with_draws(patients: tuple[tuple[str, str], ...]) -> Floats:
    return np.concatenate([np.ones((1, len(patients))), draw_weights(patients, 2000, by_hospital=True)])


def test_each_hospital_has_the_score_of_its_own_patients() -> None:
    patients = (("a", "1"), ("b", "2"), ("a", "3"), ("b", "4"))
    dice = SegmentedPatients(patients, np.array([[0.2], [0.5], [0.4], [0.9]]))
    assert {name: values[0] for name, values in scores_of_hospitals(dice, np.ones((1, 4))).items()} == {
        "a": pytest.approx(0.3),
        "b": pytest.approx(0.7),
    }
    first = np.array([0.1, 0.8, 0.4, 0.2, 0.7])
    owner, truth = np.array([0, 1, 2, 3, 3]), np.array([0, 1, 1, 1, 0])  # the last patient has two labels
    rows = ClassifiedPatients(patients, owner, truth, np.stack([1 - first, first], axis=1))
    weights = np.array([[1.0, 1, 1, 1], [1, 3, 1, 1]])
    assert scores_of_hospitals(rows, weights)["b"] == pytest.approx([0.5, 0.75])


def test_the_interval_of_a_hospital_is_that_of_students_t_on_the_logit() -> None:
    dice = np.random.default_rng(1).beta(8, 2, size=20)
    patients = tuple(("a", f"pat-{k}") for k in range(20))
    values = SegmentedPatients(patients, dice[:, None]).score(with_draws(patients))
    mean = dice.mean()
    error = dice.std(ddof=1) / np.sqrt(20) / (mean * (1 - mean))
    for intervals in (1, 10):
        reach = stats.t.ppf(1 - 0.025 / intervals, 19) * error
        expected = special.expit([special.logit(mean) - reach, special.logit(mean) + reach])
        assert logit_interval(values, 20, intervals) == pytest.approx(tuple(expected), abs=0.005)


def test_one_patient_or_a_perfect_score_has_no_interval() -> None:
    assert logit_interval(np.array([0.5]), 1) is None
    assert logit_interval(np.ones(100), 20) is None
    assert logit_interval(np.full(100, 0.8), 20) is None


def test_the_interval_of_the_lowest_hospital_knows_that_it_was_chosen() -> None:
    rng = np.random.default_rng(2)
    names = [f"hospital-{k}" for k in range(10)]
    patients = tuple((name, f"pat-{k}") for name in names for k in range(20))
    weights = with_draws(patients)[:401]
    held, naive = 0, 0
    for _ in range(60):
        test = SegmentedPatients(patients, rng.beta(8, 2, size=(200, 1)))
        lowest = find_lowest(summarize_hospitals(scores_of_hospitals(test, weights), dict.fromkeys(names, 20)))
        assert lowest is not None
        assert lowest.interval is not None
        assert lowest.joint_interval is not None
        held += lowest.joint_interval[0] <= 0.8 <= lowest.joint_interval[1]
        naive += lowest.interval[0] <= 0.8 <= lowest.interval[1]
    assert held >= 56
    assert naive <= 53


def test_a_hospital_without_a_score_is_not_the_lowest() -> None:
    nothing = {"a": np.full(10, np.nan), "b": np.linspace(0.4, 0.6, 10)}
    found = summarize_hospitals(nothing, {"a": 5, "b": 5})
    lowest = find_lowest(found)
    assert lowest is not None
    assert lowest.hospital == "b"
    assert lowest.joint_interval == lowest.interval  # one hospital with a score is no choice
    assert find_lowest(found[:1]) is None
