"""Scores of groups of patients."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.evaluation.bootstrap import SegmentedPatients, draw_weights
from medfl.evaluation.subgroup_scores import score_subgroups


def test_each_group_has_the_mean_of_its_patients_over_the_seeds() -> None:
    patients = tuple((site, f"pat-{k}") for site in ("a", "b") for k in range(10))
    dice = np.random.default_rng(1).beta(8, 2, size=(20, 1))
    tests = [SegmentedPatients(patients, dice), SegmentedPatients(patients, dice / 2)]
    weights = np.concatenate([np.ones((1, 20)), draw_weights(patients, 500, by_hospital=True)])
    of_patient = {patient: "F" if k % 4 else "M" for k, patient in enumerate(patients[:-1])}  # the last is in no group
    women, men = score_subgroups(tests, weights, {"sex": of_patient, "view": {}})
    assert [(each.column, each.value, each.patients) for each in (women, men)] == [("sex", "F", 14), ("sex", "M", 5)]
    assert men.score == pytest.approx(0.75 * dice[:-1][::4].mean())
    assert men.interval is not None
    assert women.interval is not None
    assert men.interval[0] < men.score < men.interval[1]
    assert men.interval[1] - men.interval[0] > women.interval[1] - women.interval[0]


def test_one_patient_is_a_group_without_an_interval() -> None:
    patients = (("a", "1"), ("a", "2"), ("a", "3"))
    test = SegmentedPatients(patients, np.array([[0.5], [0.6], [0.7]]))
    weights = np.concatenate([np.ones((1, 3)), draw_weights(patients, 50, by_hospital=True)])
    (alone,) = score_subgroups([test], weights, {"sex": {patients[0]: "F"}})
    assert (alone.patients, alone.score, alone.interval) == (1, 0.5, None)
