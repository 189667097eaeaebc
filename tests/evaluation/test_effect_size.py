"""Effect sizes by hand and against SciPy, and how many patients it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medfl.evaluation.bootstrap import SegmentedPatients
from medfl.evaluation.effect_size import effect_of, rank_biserial
from medfl.evaluation.patients_needed import PatientsNeeded, patients_needed


def test_the_rank_biserial_correlation_is_the_signed_rank_statistic_as_a_share() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1, size=25)
    below = 25 * 26 / 2 - stats.wilcoxon(differences, alternative="greater").statistic
    assert rank_biserial(differences, np.ones((1, 25))) == pytest.approx([1 - 2 * below / (25 * 26 / 2)])


def test_ties_share_ranks_and_patients_without_a_difference_count_on_no_side() -> None:
    # ranks of 0, 1, 1, 2: 1, 2.5, 2.5, 4
    assert rank_biserial(np.array([0.0, 1, -1, 2, math.nan]), np.ones((1, 5))) == pytest.approx([4 / 10])


def test_a_drawn_patient_counts_as_often_as_drawn() -> None:
    differences = np.array([0.3, -0.1, 0.2, -0.4])
    weights = np.array([[2.0, 1, 0, 3]])
    again = np.repeat(differences, weights[0].astype(int))
    assert rank_biserial(differences, weights) == pytest.approx(rank_biserial(again, np.ones((1, 6))))


def test_where_all_patients_differ_in_one_direction_the_effect_has_no_interval() -> None:
    patients = tuple(("a", f"pat-{k}") for k in range(4))
    one, other = (SegmentedPatients(patients, np.array([[0.5], [0.6], [0.7], [0.8]]) + shift) for shift in (0.1, 0.0))
    weights = np.concatenate([np.ones((1, 4)), np.random.default_rng(1).integers(0, 3, (50, 4))])
    effect = effect_of([one], [other], one.score(weights) - other.score(weights), weights)
    assert (effect.measure, effect.value, effect.interval) == ("rank-biserial", 1.0, None)


def test_patients_needed_find_the_difference_in_four_of_five_studies() -> None:
    needed = patients_needed(0.3, 1 / math.sqrt(50), 50)
    assert needed is not None
    assert needed == PatientsNeeded(88, "difference")  # 87.2 (Cohen 1988: 90 with Student's t)
    rng = np.random.default_rng(3)
    found = stats.ttest_1samp(rng.normal(0.3, 1, size=(2000, needed.patients)), 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_a_difference_of_about_zero_is_looked_for_by_nobody_unless_the_study_names_a_margin() -> None:
    error = 1 / math.sqrt(50)
    assert patients_needed(0.001, error, 50) is None
    assert patients_needed(0.001, error, 50, margin=0.3) == PatientsNeeded(88, "margin")
    assert patients_needed(0.001, error, 50, margin=3.0) is None  # one of that size would have been seen
    assert patients_needed(math.nan, error, 50) is None
