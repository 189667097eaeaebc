"""The coordinate-wise trimmed mean: right by hand, as Flower's, and refused where nothing would be trimmed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedTrimmedAvg as FlowerFedTrimmedAvg

from medfl.errors import QuorumError
from medfl.messages.records import to_array_record
from medfl.strategies.fedtrimmedavg import FedTrimmedAvg
from medfl.testing.strategy_contract import ANY_NUMBER


def made_of(strategy: Any, values: list[dict[str, Any]], fake: Any, make: Any) -> dict[str, np.ndarray]:
    grid = fake({k + 2: make.trained(v, k + 1) for k, v in enumerate(values)})
    reference = to_array_record({name: np.zeros_like(x) for name, x in values[0].items()})
    messages = strategy.configure_train(1, reference, ConfigRecord(), grid)
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    return {name: array.numpy() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("beta", "sent", "expected"),
    [
        (0.0, [5], 5),
        (0.0, [1, 2, 9], 4),
        (0.25, [1e30, 5, 8, -1e30], 6.5),
        (0.2, [100, 1, 2, 3, -100], 2),
        (0.4, [100, 1, 2, 3, 3], 3),
        (0.49, [7, 1, 2], 2),
    ],
)
def test_by_hand_for_even_odd_and_ties(beta: float, sent: list[float], expected: float, fake: Any, make: Any) -> None:
    values = [{"w": np.array([x, -x], np.float32), "n": np.array(k, np.uint8)} for k, x in enumerate(sent)]
    made = made_of(FedTrimmedAvg(beta=beta, **ANY_NUMBER), values, fake, make)
    assert made["w"].tolist() == [expected, -expected]
    assert made["n"] == len(sent) - 1
    assert made["n"].dtype == np.uint8


@pytest.mark.parametrize(("n", "beta"), [(5, 0.2), (8, 0.25), (9, 0.4), (3, 0.0)])
def test_as_flowers_within_the_rounding_of_its_float32_sums(n: int, beta: float, fake: Any, make: Any) -> None:
    rng = np.random.default_rng(n)
    values = [{"w": rng.standard_normal((40, 7), np.float32), "b": np.array(rng.random(), np.float32)} for _ in range(n)]
    ours = made_of(FedTrimmedAvg(beta=beta, **ANY_NUMBER), values, fake, make)
    flower = FlowerFedTrimmedAvg(beta=beta, min_train_nodes=n, min_available_nodes=n, fraction_evaluate=0)
    theirs = made_of(flower, values, fake, make)
    for name in values[0]:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=3e-7)


def test_a_round_in_which_nothing_would_be_trimmed_is_refused(initial: ArrayRecord, fake: Any, make: Any) -> None:
    grid = fake({k: make.trained(make.model(k), 1) for k in range(2, 6)})
    strategy = FedTrimmedAvg(beta=0.2)
    messages = strategy.configure_train(1, initial, ConfigRecord(), grid)
    with pytest.raises(QuorumError, match=r"TRIM-TOO-FEW.* 4 replies are too few.* Have at least 5 sites"):
        strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert len(strategy.last_round.counted) == 4


@pytest.mark.parametrize("beta", [-0.1, 0.5])
def test_a_share_that_is_none_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be"):
        FedTrimmedAvg(beta=beta)
