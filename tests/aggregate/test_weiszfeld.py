"""The geometric median: of points whose median geometry knows, and held by no single reply."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medfl.aggregate import DiskReplies, distances, geometric_median
from medfl.aggregate.weiszfeld import weiszfeld
from medfl.errors import ExchangeError
from tests.aggregate.conftest import StoreReplies


def test_of_a_triangle_it_is_the_fermat_point(store_replies: StoreReplies) -> None:
    point = (3 - 3**0.5) / 6  # from there the three corners are seen at 120 degrees
    stored = store_replies({"a": [0, 0], "b": [1, 0], "c": [0, 1]}, dtype="float64")
    np.testing.assert_allclose(geometric_median(stored)["w"], [point, point], atol=1e-9)


def test_on_a_line_it_is_the_median_however_far_an_attacker_goes(store_replies: StoreReplies) -> None:
    stored = store_replies({"a": [0.0], "b": [1.0], "evil": [1e6]}, dtype="float64")
    np.testing.assert_allclose(geometric_median(stored)["w"], [1.0], atol=1e-5)


def test_more_than_half_of_the_weight_decides(store_replies: StoreReplies) -> None:
    stored = store_replies({"a": [0, 0], "b": [2, 0]}, dtype="float64")
    assert geometric_median(stored)["w"].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(geometric_median(stored, {"a": 3, "b": 1})["w"], [0, 0], atol=1e-6)
    assert geometric_median(stored, {"b": 1})["w"].tolist() == [2.0, 0.0]
    with pytest.raises(ExchangeError, match="WEIGHT-ZERO"):
        geometric_median(stored, {"a": 0.0})


def test_a_distance_that_is_out_of_range_is_refused_with_the_name_of_its_site(store_replies: StoreReplies) -> None:
    stored = store_replies({"a": [0.0], "b": [1.0], "far": [1e155]}, dtype="float64")
    with pytest.raises(ExchangeError, match=r"UPDATE-RANGE.*far"):
        geometric_median(stored)


def test_a_step_is_that_of_the_paper(store_replies: StoreReplies) -> None:
    points, alpha = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]]), np.array([0.5, 0.25, 0.25])
    z = alpha @ points
    for _ in range(4):
        beta = alpha / np.maximum(1e-6, np.linalg.norm(points - z, axis=1))
        z = beta @ points / beta.sum()
    stored = store_replies(dict(zip("abc", points, strict=True)), dtype="float64")
    np.testing.assert_allclose(geometric_median(stored, {"a": 2, "b": 1, "c": 1}, iterations=4)["w"], z, rtol=1e-12)


def test_it_is_the_point_of_the_least_sum_of_distances(store_replies: StoreReplies) -> None:
    rng = np.random.default_rng(3)
    stored = store_replies({f"s{k}": rng.standard_normal(6) for k in range(7)}, dtype="float64")
    best = geometric_median(stored)["w"]
    least = sum(distances(stored, {"w": best}).values())
    for _ in range(20):
        assert least < sum(distances(stored, {"w": best + rng.standard_normal(6) * 1e-2}).values())


def test_replies_that_agree_and_a_lone_one(store_replies: StoreReplies) -> None:
    same = store_replies({"a": [1.5, -2], "b": [1.5, -2], "c": [1.5, -2]})
    np.testing.assert_allclose(geometric_median(same)["w"], [1.5, -2], rtol=1e-7)
    assert geometric_median(store_replies({"a": [7, 8]}))["w"].tolist() == [7, 8]
    assert weiszfeld(np.zeros((1, 1)), np.ones(1)).tolist() == [1.0]
    with DiskReplies({"w": np.zeros(1)}) as empty, pytest.raises(ExchangeError, match="WEIGHT-ZERO"):
        geometric_median(empty)


def test_every_order_of_arrival_gives_the_same_bits(store_replies: StoreReplies) -> None:
    rng = np.random.default_rng(0)
    replies = {site: rng.standard_normal(100) for site in "abcd"}
    orders = itertools.permutations("abcd")
    results = {geometric_median(store_replies({site: replies[site] for site in order}))["w"].tobytes() for order in orders}
    assert len(results) == 1
