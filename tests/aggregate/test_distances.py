"""Lengths, distances, inner products and combinations: numbers checked by hand, integers left out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medfl.aggregate import DiskReplies, combine, distance, distances, inner_products, squared_distances
from medfl.errors import ExchangeError
from medfl.messages.models import BLOCK
from tests.aggregate.conftest import StoreReplies

RNG = np.random.default_rng(0)
SQUARE = {"d": [4, 4], "a": [1, 1], "c": [1, 5], "b": [4, 1]}


def test_the_distance_of_two_models() -> None:
    a = {"w": np.array([[3, 1]], np.float32), "n": np.array(90), "scale": np.array(2.0, np.float16)}
    b = {"scale": np.array(4.0), "n": np.array(-90), "w": np.array([[1, 0]], np.float64)}
    assert distance(a, b) == 3.0  # 2, 1, 2; counters have no part
    assert distance(a, a) == 0.0
    assert distance({"w": np.full(3 * BLOCK + 1, 1e30, np.float32)}, {"w": np.zeros(3 * BLOCK + 1, np.float32)}) == (
        pytest.approx(float(np.float32(1e30)) * (3 * BLOCK + 1) ** 0.5)  # the squares are too large for float32
    )


def test_the_distances_of_all_replies_from_a_model(store_replies: StoreReplies) -> None:
    stored = store_replies(SQUARE, reference=[1, 1])
    assert distances(stored, stored.reference) == {"a": 0.0, "b": 3.0, "c": 4.0, "d": 18**0.5}
    assert distances(stored, {"w": np.array([4.0, 5.0])}) == {"a": 5.0, "b": 4.0, "c": 3.0, "d": 1.0}


def test_the_squared_distances_between_replies_are_in_the_order_of_the_sites(store_replies: StoreReplies) -> None:
    squares = squared_distances(store_replies(SQUARE))
    assert squares.tolist() == [[0, 9, 16, 18], [9, 0, 25, 9], [16, 25, 0, 10], [18, 9, 10, 0]]
    assert squared_distances(store_replies({"a": [1, 2]})).tolist() == [[0]]


def test_the_distance_of_two_that_nearly_agree_is_not_lost_beside_the_others(store_replies: StoreReplies) -> None:
    near = [1.0, 1.0 + 2.0**-20]
    squares = squared_distances(store_replies({"a": [1.0, 1.0], "b": near, "c": [1e9, -1e9]}))
    assert squares[0, 1] == 2.0**-40


def test_inner_products_are_of_updates(store_replies: StoreReplies) -> None:
    stored = store_replies({"b": [1, 3], "a": [3, 1], "c": [-1, 1]}, reference=[1, 1])
    # updates: a (2, 0), b (0, 2), c (-2, 0); the model's (3, 1)
    assert inner_products(stored, {"w": np.array([4.0, 2.0], np.float32)}) == {"a": 6.0, "b": 2.0, "c": -6.0}


def test_a_combination_takes_the_weights_as_they_are() -> None:
    with DiskReplies({"w": np.zeros(2, np.float32), "n": np.array(0)}) as stored:
        for site, values, n in (("a", [1, 2], 5), ("b", [3, 0], 4), ("c", [1000, 1000], 99)):
            stored.add(site, {"w": np.array(values, np.float32), "n": np.array(n)}, 1)
        result = combine(stored, {"b": 0.5, "a": 0.25, "c": 0.0})
        assert (result["w"].tolist(), result["w"].dtype) == ([1.75, 0.5], np.float32)
        assert result["n"] == 5  # c has no part, nor has its counter
        assert combine(stored, {"a": 2, "b": -1})["w"].tolist() == [-1, 4]
        for nobody in ({}, {"a": 0.0}, {"unknown": 1.0}):
            with pytest.raises(ExchangeError, match="WEIGHT-ZERO"):
                combine(stored, nobody)


def test_every_order_of_arrival_gives_the_same_bits(store_replies: StoreReplies) -> None:
    replies = {site: RNG.standard_normal(1000) * 10.0**k for k, site in enumerate("abcd")}
    weights = {"c": 0.1, "a": 0.2, "d": 0.3, "b": 0.4}
    model = {"w": RNG.standard_normal(1000)}
    seen = set()
    for order in itertools.permutations("abcd"):
        stored = store_replies({site: replies[site] for site in order})
        numbers = [*distances(stored, model).values(), *inner_products(stored, model).values()]
        seen.add((combine(stored, weights)["w"].tobytes(), squared_distances(stored).tobytes(), *numbers))
    assert len(seen) == 1


def test_blocks_make_no_difference_worth_mentioning(store_replies: StoreReplies) -> None:
    values = RNG.standard_normal((5, 3 * BLOCK + 7)).astype(np.float32)
    stored = store_replies({f"s{k}": x for k, x in enumerate(values)}, reference=values[0])
    wide = values.astype(np.float64)
    gaps = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(stored), gaps, rtol=1e-12)
    np.testing.assert_allclose(list(distances(stored, {"w": values[3]}).values()), np.sqrt(gaps[3]), rtol=1e-12)
    inner = (wide - wide[0]) @ (wide[3] - wide[0])
    np.testing.assert_allclose(list(inner_products(stored, {"w": values[3]}).values()), inner, rtol=1e-11, atol=1e-9)
    mean = combine(stored, dict.fromkeys(stored.sites, 0.2))["w"]
    np.testing.assert_array_equal(mean, (wide * 0.2).sum(axis=0).astype(np.float32))
