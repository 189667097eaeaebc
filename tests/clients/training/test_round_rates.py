"""How far the schedule of a study lets its model go, counted in rounds of a hospital's own."""

from __future__ import annotations

import pytest

from medfl.clients.training.round_rates import count_own_rounds, round_rate
from medfl.testing.sites import make_study

COSINE = make_study(rounds=40, schedule={"name": "cosine"})


def test_a_constant_rate_counts_rounds() -> None:
    study = make_study(rounds=40)
    assert [count_own_rounds(study, *between, 1.0) for between in ((3, 4), (9, 3), (5, 5), (0, 0), (0, 40))] == [1, 6, 1, 1, 40]


def test_a_hospital_that_trained_at_a_small_rate_expects_more_of_the_rounds_before() -> None:
    last = round_rate(COSINE, 39)
    assert last < 0.01 < 0.99 < round_rate(COSINE, 1)
    assert count_own_rounds(COSINE, 40, 5, last) == pytest.approx(sum(round_rate(COSINE, n) for n in range(6, 41)) / last)
    assert count_own_rounds(COSINE, 38, 39, last) == pytest.approx(1.0)


def test_it_is_never_less_than_the_rounds_themselves() -> None:
    assert count_own_rounds(COSINE, 30, 40, 1.0) == count_own_rounds(COSINE, 30, 40, 0.0) == 10


def test_warm_up_is_slow_at_its_begin() -> None:
    study = make_study(rounds=20, schedule={"warmup-rounds": 10})
    assert [round_rate(study, number) for number in (1, 10, 11)] == pytest.approx([0.05, 0.95, 1.0])
    assert round_rate(study, 10**9) == round_rate(study, 20)
