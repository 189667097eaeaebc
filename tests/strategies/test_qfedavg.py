"""q-FedAvg: as Flower's, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.serverapp.strategy import QFedAvg as FlowerQFedAvg

from medfl.strategies.qfedavg import QFedAvg
from tests.strategies.rounds import Model, moved, play, start

KEY = "train_loss"


def sites(make: Any, losses: tuple[float, float]) -> Any:
    return lambda m: {
        5: make.trained(moved(m, 0.3), 2, **{KEY: losses[0]}),
        6: make.trained(moved(m, -0.1), 3, **{KEY: losses[1]}),
    }


def test_it_is_flowers(make: Any) -> None:
    rounds = [sites(make, (0.9, 0.2)), sites(make, (0.7, 0.3))]
    ours = play(QFedAvg(q=0.5, client_learning_rate=0.1, train_loss_key=KEY), start(), rounds)
    theirs = play(FlowerQFedAvg(client_learning_rate=0.1, q=0.5, train_loss_key=KEY), start(), rounds)
    for mine, other in zip(ours, theirs, strict=True):
        for key in mine:
            np.testing.assert_allclose(mine[key], other[key], rtol=1e-5, atol=1e-6)


def test_by_hand(make: Any) -> None:
    # q = 1, L = 1, F = 3 and 1, changes 1 and -1 of one weight: sum of F d = -3 + 1, sum of h = (1 + 3) + (1 + 1)
    zero: Model = {"w": np.zeros(1, np.float32)}
    answer = lambda m: {5: make.trained(moved(m, 1.0), 1, **{KEY: 3.0}), 6: make.trained(moved(m, -1.0), 1, **{KEY: 1.0})}  # noqa: E731
    made = play(QFedAvg(client_learning_rate=1.0, q=1.0, train_loss_key=KEY), zero, [answer])
    assert made[0]["w"][0] == pytest.approx(2 / 6)


def test_q_of_zero_is_the_even_mean(make: Any) -> None:
    made = play(
        QFedAvg(client_learning_rate=0.1, q=0.0, train_loss_key=KEY), {"w": np.zeros(1, np.float32)}, [sites(make, (5.0, 0.1))]
    )
    assert made[0]["w"][0] == pytest.approx(0.1)


def test_a_site_that_tells_no_loss_is_left_out(make: Any) -> None:
    strategy = QFedAvg(client_learning_rate=0.1, train_loss_key=KEY)
    play(strategy, start(), [lambda m: {5: make.trained(moved(m, 1.0), 1, **{KEY: 3.0}), 6: make.trained(m, 1)}])
    assert [r.reason[:14] for r in strategy.last_round.replies] == ["", "[LOSS-MISSING]"]


def test_a_high_power_of_small_losses_is_as_the_equation_says(make: Any) -> None:
    losses, changes, q = (0.01, 0.02), (1.0, -1.0), 5.0  # powers of 1e-10 and 3e-9
    answers = {5 + k: make.trained({"w": np.full(1, changes[k])}, 1, **{KEY: losses[k]}) for k in (0, 1)}
    made = play(
        QFedAvg(client_learning_rate=0.1, q=q, lipschitz=1.0, train_loss_key=KEY), {"w": np.zeros(1)}, [lambda _: answers]
    )
    above = sum(loss**q * change for loss, change in zip(losses, changes, strict=True))
    below = sum(q * loss ** (q - 1) * change**2 + loss**q for loss, change in zip(losses, changes, strict=True))
    assert made[0]["w"][0] == pytest.approx(above / below)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -1.0])
def test_a_loss_that_is_none_is_refused(loss: float, make: Any) -> None:
    strategy = QFedAvg(client_learning_rate=0.1, train_loss_key=KEY)
    play(strategy, start(), [lambda m: {5: make.trained(m, 1, **{KEY: 3.0}), 6: make.trained(m, 1, **{KEY: loss})}])
    assert [r.reason[:14] for r in strategy.last_round.replies] == ["", "[LOSS-MISSING]"]


@pytest.mark.parametrize("q", [0.0, 5.0])
def test_losses_and_updates_of_any_size_end_no_run(q: float, make: Any) -> None:
    answers = {
        5: make.trained({"w": np.ones(2)}, 1, **{KEY: 0.0}),
        6: make.trained({"w": -np.ones(2)}, 1, **{KEY: 1e300}),
        7: make.trained({"w": np.full(2, 1e200)}, 1, **{KEY: 1.0}),
    }
    strategy = QFedAvg(client_learning_rate=0.1, q=q, train_loss_key=KEY)
    made = play(strategy, {"w": np.zeros(2)}, [lambda _: answers])[0]["w"]
    assert np.isfinite(made).all()
    assert [r.reason[:14] for r in strategy.last_round.replies] == ["", "", "[UPDATE-RANGE]"]
