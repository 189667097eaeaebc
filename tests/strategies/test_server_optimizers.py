"""Optimizers at the server: as Flower's, over several rounds, and the same after a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.serverapp import strategy as flower

from medfl.strategies.fedadagrad import FedAdagrad
from medfl.strategies.fedadam import FedAdam
from medfl.strategies.fedavgm import FedAvgM
from medfl.strategies.fedyogi import FedYogi
from medfl.testing.strategy_contract import ANY_NUMBER
from tests.strategies.rounds import Answers, Model, moved, play, start

OURS: dict[str, Callable[..., Any]] = {
    "fedavgm": lambda **more: FedAvgM(**more, server_learning_rate=0.7, server_momentum=0.8),
    "fedadam": lambda **more: FedAdam(**more, eta=0.05, beta_1=0.8, beta_2=0.95, tau=1e-2),
    "fedyogi": lambda **more: FedYogi(**more, eta=0.05, beta_1=0.8, beta_2=0.95, tau=1e-2),
    "fedadagrad": lambda **more: FedAdagrad(**more, eta=0.05, tau=1e-2),
}
FLOWERS: dict[str, Callable[[], Any]] = {
    "fedavgm": lambda: flower.FedAvgM(server_learning_rate=0.7, server_momentum=0.8),
    "fedadam": lambda: flower.FedAdam(eta=0.05, beta_1=0.8, beta_2=0.95, tau=1e-2),
    "fedyogi": lambda: flower.FedYogi(eta=0.05, beta_1=0.8, beta_2=0.95, tau=1e-2),
    "fedadagrad": lambda: flower.FedAdagrad(eta=0.05, tau=1e-2),
}

every_one = pytest.mark.parametrize("name", OURS)


def answers(make: Any, k: int) -> Callable[[Model], Answers]:
    """Return a round in which two sites move the model by what the round says."""
    return lambda model: {5: make.trained(moved(model, 0.1 * k), 2), 6: make.trained(moved(model, -0.3 + 0.05 * k), 3)}


@every_one
def test_it_is_flowers(name: str, make: Any) -> None:
    rounds = [answers(make, k) for k in range(4)]
    ours, theirs = play(OURS[name](), start(), rounds), play(FLOWERS[name](), start(), rounds)
    for mine, other in zip(ours, theirs, strict=True):
        for key in mine:
            np.testing.assert_allclose(mine[key], other[key], rtol=2e-5, atol=2e-6)


@every_one
def test_after_a_restart_it_goes_on_to_the_same_bits(name: str, make: Any) -> None:
    rounds = [answers(make, k) for k in range(5)]
    whole = play(OURS[name](), start(), rounds)
    first, second = OURS[name](), OURS[name]()
    before = play(first, start(), rounds[:2])
    second.restore({key: np.array(x) for key, x in first.state().items()})
    after = play(second, before[-1], rounds[2:], first=3)
    assert all(np.array_equal(after[-1][key], whole[-1][key]) for key in whole[-1])


@every_one
def test_counters_are_no_weights(name: str, make: Any) -> None:
    model = start() | {"steps": np.array(7)}
    answer = {5: make.trained(model | {"steps": np.array(9)}, 1)}
    made = play(OURS[name](**ANY_NUMBER), model, [lambda _: answer])[-1]
    assert made["steps"] == 9
    assert made["steps"].dtype == np.int64


def test_momentum_by_hand(make: Any) -> None:
    # change 1, then 1: v = 1, then 0.5 + 1; x = 0 + 1, then + 1.5
    rounds = [lambda model: {5: make.trained(moved(model, 1.0), 1)}] * 2
    made = play(FedAvgM(server_momentum=0.5, **ANY_NUMBER), {"w": np.zeros(2, np.float32)}, rounds)
    assert [m["w"].tolist() for m in made] == [[1, 1], [2.5, 2.5]]
