"""Median and trimmed mean: numpy's and Flower's numbers, for every count of replies and cut."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean

from medfl.aggregate import DiskReplies, median, trimmed_mean
from medfl.aggregate.order_statistics import sorting_network
from medfl.errors import ExchangeError
from tests.aggregate.conftest import StoreReplies

RNG = np.random.default_rng(0)


def test_the_median_of_an_odd_and_an_even_number(store_replies: StoreReplies) -> None:
    replies = {"a": [1, 9, -1], "b": [2, 3, -1], "c": [90, 4, -1]}
    assert median(store_replies(replies))["w"].tolist() == [2, 4, -1]
    assert median(store_replies({**replies, "d": [3, -9, 5]}))["w"].tolist() == [2.5, 3.5, -1]
    assert median(store_replies({"a": [7, 8]}))["w"].tolist() == [7, 8]


def test_the_trimmed_mean_cuts_as_many_at_either_end(store_replies: StoreReplies) -> None:
    stored = store_replies({site: [v] for site, v in zip("abcde", (1, 2, 3, 7, 1000), strict=True)})
    assert trimmed_mean(stored, 0.2)["w"].tolist() == [4.0]  # of 2, 3, 7
    assert trimmed_mean(stored, 0.19)["w"].tolist() == [np.float32(202.6)]  # int(0.95) is 0: none is cut
    assert trimmed_mean(stored, 0.4)["w"].tolist() == [3.0]
    assert trimmed_mean(stored, np.nextafter(0.5, 0))["w"].tolist() == [3.0]
    for beta in (-0.1, 0.5, float("nan")):
        with pytest.raises(ValueError, match="beta"):
            trimmed_mean(stored, beta)


@pytest.mark.parametrize("n", range(1, 14))
def test_a_network_that_sorts_zeros_and_ones_sorts_everything(n: int) -> None:
    values = np.array(list(itertools.product((0, 1), repeat=n))).T  # Knuth's theorem 5.3.4Z, here for the middle ranks
    for cut in range((n + 1) // 2):
        rows = list(values.copy())
        for i, j, smaller, larger in sorting_network(n, cut):
            low, high = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
            rows[i], rows[j] = low if smaller else high * 99, high if larger else high * 99
        np.testing.assert_array_equal(sum(rows[cut : n - cut]), np.sort(values, axis=0)[cut : n - cut].sum(axis=0))


def test_a_mean_without_a_cut_compares_nothing() -> None:
    assert sorting_network(10, 0) == ()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 17, 32])
def test_they_are_numpys_and_flowers(n: int, dtype: str, store_replies: StoreReplies) -> None:
    values = (RNG.standard_normal((n, 3, 500)) * 10.0 ** RNG.integers(-4, 4, (3, 500))).astype(dtype)
    values[:, 0, :9] = values[0, 0, :9]  # all alike
    stored = store_replies({f"site{k:02}": x for k, x in enumerate(values)}, dtype=dtype)
    found = median(stored)["w"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.median(values, axis=0))
    for beta in (0.0, 0.1, 0.2, 0.45):
        want = trim_mean(values.astype(np.float64), beta).astype(dtype)
        np.testing.assert_allclose(trimmed_mean(stored, beta)["w"], want, rtol=1e-13, atol=1e-12)


def test_the_middle_of_huge_and_tiny_values_is_between_them(store_replies: StoreReplies) -> None:
    huge, tiny = 3e38, float(np.float32(1e-45))
    stored = store_replies({"a": [huge, tiny], "b": [huge, tiny]})
    assert median(stored)["w"].tolist() == [float(np.float32(huge)), tiny]


def test_every_order_of_arrival_gives_the_same_bits(store_replies: StoreReplies) -> None:
    replies, orders = {site: RNG.standard_normal(40) for site in "abcd"}, list(itertools.permutations("abcd"))
    for rule in (median, trimmed_mean):
        results = {rule(store_replies({s: replies[s] for s in order}))["w"].tobytes() for order in orders}
        assert len(results) == 1


def test_layout_is_the_models_and_counters_are_not_averaged() -> None:
    model = {"n": np.array(0), "w": np.zeros((2, 1), np.float32), "scale": np.array(0.0), "none": np.zeros((0, 2))}
    for rule in (median, trimmed_mean):
        with DiskReplies(model) as stored:
            for k, site in enumerate(("a", "b", "c"), 1):
                more = {"w": np.full((2, 1), k, np.float16), "scale": np.array(k / 2), "n": np.array(10 * k)}
                stored.add(site, {**model, **more}, 1)
            result = rule(stored)
        assert [(name, x.shape, x.dtype) for name, x in result.items()] == [(n, x.shape, x.dtype) for n, x in model.items()]
        assert [x.tolist() for x in result.values()] == [30, [[2], [2]], 1.0, []]


def test_without_replies_there_is_no_median() -> None:
    with DiskReplies({"w": np.zeros(2)}) as stored:
        for rule in (median, trimmed_mean):
            with pytest.raises(ExchangeError, match="WEIGHT-ZERO"):
                rule(stored)


def test_memory_is_the_result_and_a_few_blocks() -> None:
    size = 2_000_000
    with DiskReplies({"w": np.zeros(size, np.float32)}) as stored:
        for k in range(9):
            stored.add(f"s{k}", {"w": np.full(size, k, np.float32)}, 1)
        tracemalloc.start()
        result = median(stored)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert result["w"][[0, -1]].tolist() == [4, 4]
    assert peak < 4 * size + 5_000_000
