"""Rounding of scores: as many values as are told, near the score, and never a training loss of 0."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medfl.privacy.score_rounding import count_values, round_number, round_score, round_training_loss


@pytest.mark.parametrize(("patients", "limit"), [(1, 1.0), (24, 1.0), (24, 3.77), (99, 100.0), (100, 1.2), (70_000, 2.773)])
def test_a_mean_has_as_many_values_as_are_told_and_moves_by_half_a_step(patients: int, limit: float) -> None:
    scores = np.linspace(0.0, limit, 20_011)
    rounded = [round_score(score, limit, patients) for score in scores]
    step = limit * max(1 / 1000, 1 / (10 * patients))
    assert len(set(rounded)) == count_values(patients)
    assert np.abs(rounded - scores).max() <= step / 2 + 0.0005 + 1e-9  # three decimals are written
    assert (min(rounded), max(rounded)) == (0.0, pytest.approx(limit, abs=0.0005))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300])
def test_what_is_no_score_counts_as_the_limit_or_is_clipped(value: float) -> None:
    assert round_score(value, 2.0, 30) == 2.0
    assert round_score(-0.3, 2.0, 30) == 0.0


def test_a_training_loss_is_never_zero_so_that_a_strategy_can_divide_by_it() -> None:
    assert round_training_loss(1e-9, 2.0, 1000) == 0.002
    assert round_training_loss(1e-9, 0.1, 1000) == 0.001
    assert round_training_loss(0.5, 2.0, 1000) == 0.5


def test_numbers_of_unknown_range_keep_three_digits() -> None:
    assert [round_number(x) for x in (-12345.6, 0.00098765, 0.0)] == [-12300.0, 0.000988, 0.0]
    assert math.isnan(round_number(math.nan))
