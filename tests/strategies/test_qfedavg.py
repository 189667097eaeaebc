"""q-FedAvg: as Flower's, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.serverapp.strategy import QFedAvg as FlowerQFedAvg

from medfl.strategies.qfedavg import QFedAvg
from tests.strategies.play import Model, moved, play, start

KEY = "train_loss"


def sites(make: Any, losses: tuple[float, float]) -> Any:
    return lambda m: {
        5: make.trained(moved(m, 0.3), 2, **{KEY: losses[0]}),
        6: make.trained(moved(m, -0.1), 3, **{KEY: losses[1]}),
    }


def test_it_is_flowers(make: Any) -> None:
    rounds = [sites(make, (0.9, 0.2)), sites(make, (0.7, 0.3))]
    ours = play(QFedAvg(q=0.5, learning_rate=0.1, loss_key=KEY), start(), rounds)
    theirs = play(FlowerQFedAvg(client_learning_rate=0.1, q=0.5, train_loss_key=KEY), start(), rounds)
    for mine, other in zip(ours, theirs, strict=True):
        for key in mine:
            np.testing.assert_allclose(mine[key], other[key], rtol=1e-5, atol=1e-6)


def test_by_hand(make: Any) -> None:
    # q = 1, L = 1, F = 3 and 1, changes 1 and -1 of one weight: sum of F d = -3 + 1, sum of h = (1 + 3) + (1 + 1)
    zero: Model = {"w": np.zeros(1, np.float32)}
    answer = lambda m: {5: make.trained(moved(m, 1.0), 1, **{KEY: 3.0}), 6: make.trained(moved(m, -1.0), 1, **{KEY: 1.0})}  # noqa: E731
    made = play(QFedAvg(q=1.0, lipschitz=1.0, loss_key=KEY), zero, [answer])
    assert made[0]["w"][0] == pytest.approx(2 / 6)


def test_q_of_zero_is_the_even_mean(make: Any) -> None:
    made = play(QFedAvg(q=0.0, loss_key=KEY), {"w": np.zeros(1, np.float32)}, [sites(make, (5.0, 0.1))])
    assert made[0]["w"][0] == pytest.approx(0.1)


def test_a_site_that_tells_no_loss_is_left_out(make: Any) -> None:
    strategy = QFedAvg(loss_key=KEY)
    play(strategy, start(), [lambda m: {5: make.trained(moved(m, 1.0), 1, **{KEY: 3.0}), 6: make.trained(m, 1)}])
    assert [r.reason[:14] for r in strategy.last_round.replies] == ["", "[LOSS-MISSING]"]
