"""Krum and Multi-Krum: right by hand, as Flower's where it is right, and refused where the paper promises nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import Krum as FlowerKrum
from flwr.serverapp.strategy import MultiKrum as FlowerMultiKrum
from flwr.serverapp.strategy.multikrum import compute_distances

from medfl.errors import QuorumError
from medfl.messages.records import to_array_record
from medfl.strategies.krum import Krum
from medfl.strategies.multikrum import MultiKrum

Models = list[dict[str, Any]]


def made_of(strategy: Any, values: Models, fake: Any, make: Any, order: Any = None) -> dict[str, np.ndarray]:
    names = {k + 2: "abcdefghij"[k] for k in range(len(values))}
    if isinstance(strategy, MultiKrum):
        strategy.begin_run(names)
    grid = fake({k + 2: make.trained(v, k + 1) for k, v in enumerate(values)}, order)
    reference = to_array_record({name: np.zeros_like(x) for name, x in values[0].items()})
    messages = strategy.configure_train(1, reference, ConfigRecord(), grid)
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    return {name: array.numpy() for name, array in arrays.items()}


def line(*places: float) -> Models:
    return [{"w": np.array([x, 0], np.float32), "n": np.array(k)} for k, x in enumerate(places)]


def test_krum_by_hand(fake: Any, make: Any) -> None:
    # n - f - 2 = 2 neighbours; scores: 0: 1 + 9, 1: 1 + 4, 3: 4 + 1, 4: 1 + 9, 50: 46**2 + 47**2
    strategy = Krum(num_malicious_nodes=1)
    made = made_of(strategy, line(0, 1, 3, 4, 50), fake, make)
    assert strategy.selected_sites == ("b",)  # as good as "c": the name decides
    assert made["w"].tolist() == [1, 0]
    assert made["n"] == 1
    assert made["n"].dtype == np.int64


def test_multi_krum_by_hand(fake: Any, make: Any) -> None:
    strategy = MultiKrum(num_malicious_nodes=1, num_nodes_to_select=2)
    made = made_of(strategy, line(0, 1, 3, 4, 50), fake, make)
    assert strategy.selected_sites == ("b", "c")
    assert made["w"][0] == pytest.approx((2 * 1 + 3 * 3) / 5)
    even = MultiKrum(num_malicious_nodes=1, num_nodes_to_select=2, weighted_by_key="")
    assert made_of(even, line(0, 1, 3, 4, 50), fake, make)["w"].tolist() == [2, 0]
    assert made["n"] == 2


def test_zero_selects_all_but_the_malicious(fake: Any, make: Any) -> None:
    strategy = MultiKrum(num_malicious_nodes=2, num_nodes_to_select=0)
    made_of(strategy, line(0, 1, 2, 3, 4, 90, -90), fake, make)
    assert strategy.selected_sites == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("places", [(7,), (7, 9), (7, 7, 7)])
def test_with_none_malicious_any_number_will_do(places: tuple[float, ...], fake: Any, make: Any) -> None:
    strategy = Krum(min_train_nodes=1, min_available_nodes=1)
    assert made_of(strategy, line(*places), fake, make)["w"][0] == 7
    assert strategy.selected_sites == ("a",)


@pytest.mark.parametrize("build", [Krum, lambda **k: MultiKrum(num_nodes_to_select=3, **k)])
def test_the_order_of_arrival_decides_no_tie(build: Any, fake: Any, make: Any) -> None:
    for order in ([2, 3, 4, 5, 6], [6, 5, 4, 3, 2], [4, 6, 2, 5, 3]):
        strategy = build(num_malicious_nodes=1)
        made_of(strategy, line(1, 1, -1, -1, 0), fake, make, order)
        assert strategy.selected_sites == ("a", "b", "c")[: strategy.num_nodes_to_select]


@pytest.mark.parametrize(("n", "f", "m"), [(5, 1, 1), (7, 2, 3), (9, 2, 7), (9, 3, 1)])
def test_as_flowers_on_updates_as_large_as_the_model(n: int, f: int, m: int, fake: Any, make: Any) -> None:
    rng = np.random.default_rng(n)
    values = [{"w": rng.standard_normal((40, 7), np.float32) * (1 + k), "b": np.float32(k)} for k in range(n)]
    nodes = {"min_train_nodes": n, "min_available_nodes": n, "fraction_evaluate": 0, "num_malicious_nodes": f}
    ours = made_of(Krum(**nodes) if m == 1 else MultiKrum(num_nodes_to_select=m, **nodes), values, fake, make)
    theirs = made_of(FlowerKrum(**nodes) if m == 1 else FlowerMultiKrum(num_nodes_to_select=m, **nodes), values, fake, make)
    for name in values[0]:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=0 if m == 1 else 2e-6)


def test_small_updates_of_a_large_model_are_distinguished_where_flowers_distances_are_noise(fake: Any, make: Any) -> None:
    rng = np.random.default_rng(1)
    large = rng.standard_normal(5000).astype(np.float32) * 10
    values = [{"w": large + np.float32(0.002) * rng.standard_normal(5000).astype(np.float32)} for _ in range(4)]
    values.insert(2, {"w": large + np.float32(0.02)})  # ten times as far as the others
    strategy = MultiKrum(num_malicious_nodes=1, num_nodes_to_select=0)
    made_of(strategy, values, fake, make)
    assert strategy.selected_sites == ("a", "b", "d", "e")
    theirs = compute_distances([to_array_record(v) for v in values])
    assert (theirs < 0).any()  # squares of 500,000 in float32 are whole multiples of 0.03, the distances 0.04


@pytest.mark.parametrize(
    ("strategy", "n", "needed"),
    [
        (Krum(num_malicious_nodes=1), 4, 5),
        (Krum(num_malicious_nodes=2), 6, 7),
        (MultiKrum(num_malicious_nodes=1, num_nodes_to_select=6), 6, 7),
    ],
)
def test_too_few_replies_for_the_rule_are_refused(
    strategy: Krum, n: int, needed: int, initial: ArrayRecord, fake: Any, make: Any
) -> None:
    grid = fake({k: make.trained(make.model(k), 1) for k in range(2, n + 2)})
    messages = strategy.configure_train(1, initial, ConfigRecord(), grid)
    with pytest.raises(QuorumError, match=rf"KRUM-TOO-FEW.* {n} replies are too few.* takes {needed}\."):
        strategy.aggregate_train(1, grid.send_and_receive(messages))


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        MultiKrum(num_malicious_nodes=-1)
