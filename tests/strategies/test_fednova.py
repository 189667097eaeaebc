"""FedNova: updates count by the step, whatever the number of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfl.strategies.fedavg import FedAvg
from medfl.strategies.fednova import FedNova
from tests.strategies.rounds import Model, moved, play, start

ZERO: Model = {"w": np.zeros(2, np.float32)}


def steps(make: Any, model: Model, move: float, weight: float, taken: int) -> Any:
    return make.trained(moved(model, move), weight, **{"train.steps": taken})


def test_by_hand(make: Any) -> None:
    # p = 1/4, 3/4; a = 2, 6; tau = 0.5 + 4.5 = 5; x = 5 * (1/4 * 4/2 + 3/4 * 12/6) = 10
    made = play(FedNova(), ZERO, [lambda m: {5: steps(make, m, 4.0, 1, 2), 6: steps(make, m, 12.0, 3, 6)}])
    np.testing.assert_allclose(made[0]["w"], 10.0, rtol=1e-6)


def test_with_equal_steps_it_is_fedavg(make: Any) -> None:
    rounds = [lambda m: {5: steps(make, m, 0.4, 1, 5), 6: steps(make, m, -1.2, 3, 5)}]
    nova, average = (play(kind, start(), rounds)[0] for kind in (FedNova(momentum=0.9), FedAvg()))
    assert all(np.allclose(nova[key], average[key], rtol=1e-5, atol=1e-6) for key in nova)


@pytest.mark.parametrize("mean", ["exact", "float"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("taken", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("sent", "replies", "weights"),
    [
        (1.0, [1 / 3] * 3, [10, 20, 7]),
        (1e6, [1e-5, 2e-5], [3, 4]),
        (1e4, [1e-3] * 2, [0.1, 0.3]),
        (0.0, [0.1, 0.2], [3, 4]),
    ],
)
def test_with_equal_steps_no_small_value_is_lost(
    sent: float, replies: list[float], weights: list[float], taken: int, momentum: float, mean: Any, make: Any
) -> None:
    model: Model = {"w": np.array([sent], np.float32)}
    models = [{"w": np.array([reply], np.float32)} for reply in replies]
    answers = {
        5 + k: make.trained(reply, weight, **{"train.steps": taken})
        for k, (reply, weight) in enumerate(zip(models, weights, strict=True))
    }
    nova, average = (
        play(kind, model, [lambda _: answers])[0]["w"][0] for kind in (FedNova(momentum=momentum, mean=mean), FedAvg())
    )
    if len(set(replies)) == 1 and mean == "exact":
        assert nova == average == np.float32(replies[0])
    assert nova == pytest.approx(average, rel=3e-7)


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_way_is_what_sgd_goes_along_a_gradient_of_one(nesterov: bool) -> None:
    import torch

    place = torch.zeros(1, requires_grad=True)
    sgd = torch.optim.SGD([place], lr=1.0, momentum=0.9, nesterov=nesterov)
    for _ in range(7):
        place.grad = torch.ones(1)
        sgd.step()
    assert FedNova(momentum=0.9, nesterov=nesterov)._effective_steps(7) == pytest.approx(-float(place.detach()), rel=1e-5)


def test_a_reply_without_steps_is_left_out(make: Any) -> None:
    strategy = FedNova()
    made = play(strategy, ZERO, [lambda m: {5: steps(make, m, 4.0, 1, 2), 6: make.trained(moved(m, 9.0), 3)}])
    assert made[0]["w"].tolist() == [4, 4]
    assert [r.reason[:15] for r in strategy.last_round.replies] == ["", "[STEPS-MISSING]"]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float16, 2e-3), (np.float32, 1e-6), (np.float64, 1e-8)])
def test_many_steps_lose_no_digits_of_the_update(dtype: Any, rtol: float, make: Any) -> None:
    # p = 1/2 each, a = 1500 and 500: tau = 1000; x = 1 + 1000 / 2 * (0.25 / 1500 + 0.25 / 500)
    one: Model = {"w": np.ones(2, dtype)}
    changed = {"w": np.full(2, 1.25, dtype)}
    answers = {5: make.trained(changed, 1, **{"train.steps": 1500}), 6: make.trained(changed, 1, **{"train.steps": 500})}
    made = play(FedNova(), one, [lambda _: answers])[0]["w"]
    np.testing.assert_allclose(made, 1 + 500 * (0.25 / 1500 + 0.25 / 500), rtol=rtol)
    assert made.dtype == dtype


@pytest.mark.parametrize("steps", [float("nan"), 0, -3, 2**50])
def test_a_number_of_steps_that_is_none_is_refused(steps: float, make: Any) -> None:
    strategy = FedNova()
    answers = {5: make.trained(ZERO, 1, **{"train.steps": 5}), 6: make.trained(ZERO, 3, **{"train.steps": steps})}
    play(strategy, ZERO, [lambda _: answers])
    assert [r.reason[:15] for r in strategy.last_round.replies] == ["", "[STEPS-MISSING]"]


def wide(seed: int, size: int = 60_000) -> np.ndarray:
    """Return values that differ so much in size that an exact mean keeps some of them in a file."""
    rng = np.random.default_rng(seed)
    return np.ldexp(rng.uniform(1, 2, size), rng.integers(-60, 60, size)).astype(np.float32)


def test_buffers_of_any_size_are_averaged_and_a_refused_reply_counts_in_none(make: Any) -> None:
    sent: Model = ZERO | {"norm.running_var": np.ones(60_000, np.float32)}
    good = [{"w": np.ones(2, np.float32), "norm.running_var": wide(seed)} for seed in (0, 1, 2)]
    bad = {"w": np.full(2, np.nan, np.float32), "norm.running_var": wide(3)}
    answers = {k: make.trained(reply, 1, **{"train.steps": 5}) for k, reply in enumerate([*good, bad], start=2)}
    made = play(FedNova(), sent, [lambda _: answers])[0]
    expected = np.mean([reply["norm.running_var"].astype(np.float64) for reply in good], axis=0)
    np.testing.assert_allclose(made["norm.running_var"], expected, rtol=1e-7)
    assert made["w"].tolist() == [1, 1]
