"""The geometric median: right by hand, robust, and the paper's iterations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord

from medfl.messages.records import to_array_record
from medfl.strategies.rfa import Rfa
from medfl.testing.strategy_contract import ANY_NUMBER


def made_of(strategy: Rfa, points: Any, fake: Any, make: Any, weights: Any = None) -> np.ndarray:
    values = [{"w": np.array(p, np.float64), "n": np.array(k)} for k, p in enumerate(points)]
    grid = fake({k + 2: make.trained(v, (weights or [1] * len(values))[k]) for k, v in enumerate(values)})
    reference = to_array_record({"w": np.zeros_like(values[0]["w"]), "n": np.array(0)})
    messages = strategy.configure_train(1, reference, ConfigRecord(), grid)
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert arrays["n"].numpy() == len(values) - 1
    assert arrays["n"].numpy().dtype == np.int64
    return arrays["w"].numpy()


def test_the_fermat_point_of_a_triangle(fake: Any, make: Any) -> None:
    # an isosceles triangle with its tip far away: the point where all sides are seen under 120 degrees
    made = made_of(Rfa(), [(-1, 0), (1, 0), (0, 10)], fake, make)
    assert made == pytest.approx([0, 1 / np.sqrt(3)], abs=1e-6)


@pytest.mark.parametrize(
    ("points", "weights", "expected"),
    [
        ([[5.0]], None, 5.0),
        ([[0.0], [10.0]], [1, 3], 10.0),  # of two the heavier wins
        ([[0.0], [1.0], [100.0]], None, 1.0),  # on a line it is the median
        ([[2.0], [2.0], [9.0]], None, 2.0),
        ([[0.0], [1.0], [100.0]], [1, 1, 5], 100.0),  # more than half of the weight decides
    ],
)
def test_by_hand_on_a_line(points: Any, weights: Any, expected: float, fake: Any, make: Any) -> None:
    assert made_of(Rfa(iterations=1000, **ANY_NUMBER), points, fake, make, weights) == pytest.approx([expected], abs=1e-3)


def test_the_first_two_iterations_are_those_of_the_paper(fake: Any, make: Any) -> None:
    points, alpha = np.array([[0.0, 0], [4, 0], [0, 8]]), np.array([1, 2, 5]) / 8
    z = alpha @ points
    for iterations in (1, 2):
        beta = alpha / np.maximum(1e-6, np.linalg.norm(z - points, axis=1))
        z = beta @ points / beta.sum()
        made = made_of(Rfa(iterations=iterations), points, fake, make, [1, 2, 5])
        assert made == pytest.approx(z, abs=1e-12)


@pytest.mark.parametrize("far", [1e2, 1e6])
def test_a_minority_moves_it_by_no_more_than_the_spread_of_the_others(far: float, fake: Any, make: Any) -> None:
    honest = np.random.default_rng(0).standard_normal((6, 50))
    made = made_of(Rfa(), [*honest, np.full(50, far), np.full(50, far)], fake, make)
    assert np.linalg.norm(made - honest.mean(0)) < 2 * np.linalg.norm(honest - honest.mean(0), axis=1).max()


@pytest.mark.parametrize("far", [1e155, -1e200, 1e308])
def test_a_reply_whose_distance_is_out_of_range_is_left_out(far: float, fake: Any, make: Any) -> None:
    values = {k: {"w": np.full(2, far if k == 2 else 0.1)} for k in range(2, 8)}
    grid, strategy = fake({k: make.trained(v, 1) for k, v in values.items()}), Rfa()
    messages = strategy.configure_train(1, to_array_record({"w": np.zeros(2)}), ConfigRecord(), grid)
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert arrays["w"].numpy() == pytest.approx([0.1, 0.1])
    assert [r.reason[:14] for r in strategy.last_round.replies] == ["[UPDATE-RANGE]", *[""] * 5]


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"nu": 0.0}])
def test_numbers_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="iterations must be"):
        Rfa(**wrong)
