"""The exact mean against fractions: right to one unit in the last place for any finite replies, and one result in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfl.aggregate import ExactMean
from medfl.aggregate.leftover_values import LeftoverValues
from medfl.errors import ExchangeError
from medfl.messages.models import BLOCK

FORMATS = {"float16": 16, "float32": 32, "float64": 64}
WEIGHTS = st.one_of(st.integers(1, 5000), st.integers(1, 2**53), st.sampled_from([1, 2**30, 2**53 - 1, 2**53]))
FRACTIONAL_WEIGHTS = st.floats(2.0**-10, 2.0**20)

quickly = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def rounds(draw: st.DrawFn, weights: st.SearchStrategy[float] = WEIGHTS) -> tuple[str, list[np.ndarray], list[float]]:
    """Draw a type, replies of the same size, from all finite values or near each other, and their weights."""
    dtype = draw(st.sampled_from(sorted(FORMATS)))
    anything = st.floats(allow_nan=False, allow_infinity=False, width=FORMATS[dtype])  # type: ignore[arg-type]
    value = draw(st.sampled_from([anything, st.floats(-1, 1, width=FORMATS[dtype]), st.sampled_from([0.0, -0.0, 1e9, 1e-2])]))  # type: ignore[arg-type]
    count, size = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    limit = float(np.finfo(dtype).max)
    rows = draw(st.lists(st.lists(value, min_size=size, max_size=size), min_size=count, max_size=count))
    replies = [np.array(row).clip(-limit, limit).astype(dtype) for row in rows]
    return dtype, replies, draw(st.lists(weights, min_size=count, max_size=count))


def mean_of(replies: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    mean = ExactMean({"w": np.zeros_like(replies[0])})
    for reply, weight in zip(replies, weights, strict=True):
        mean.add({"w": reply}, weight)
    return mean.result()["w"]


def units_off(mean: Any, values: Sequence[Any], weights: Sequence[float], dtype: str) -> Fraction:
    """Return the error in units in the last place of the mean, or of 2**-40 of the mean of the magnitudes if it is larger."""
    shares = [Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    right = sum((s * Fraction(float(x)) for s, x in zip(shares, values, strict=True)), Fraction(0))
    magnitude = sum((s * abs(Fraction(float(x))) for s, x in zip(shares, values, strict=True)), Fraction(0))
    info = np.finfo(dtype)
    exponent = math.frexp(max(abs(right), magnitude / 2**40))[1] - 1
    return abs(Fraction(float(mean)) - right) / Fraction(2) ** (max(exponent, int(info.minexp)) - info.nmant)


def in_29_bits(weight: float) -> float:
    fraction, exponent = math.frexp(weight)
    return math.ldexp(round(math.ldexp(fraction, 29)), exponent - 29)


@quickly
@given(rounds())
def test_the_mean_is_right_to_one_unit_in_the_last_place(drawn: tuple[str, list[np.ndarray], list[float]]) -> None:
    dtype, replies, weights = drawn
    for place, mean in enumerate(mean_of(replies, weights)):
        assert units_off(mean, [reply[place] for reply in replies], weights, dtype) <= 1


@quickly
@given(rounds(st.one_of(WEIGHTS, FRACTIONAL_WEIGHTS)), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_bit(drawn: tuple[str, list[np.ndarray], list[float]], random: Any) -> None:
    _, replies, weights = drawn
    order = list(range(len(replies)))
    random.shuffle(order)
    shuffled = mean_of([replies[k] for k in order], [weights[k] for k in order])
    assert shuffled.tobytes() == mean_of(replies, weights).tobytes()


@quickly
@given(rounds(st.one_of(WEIGHTS, FRACTIONAL_WEIGHTS)))
def test_equal_replies_give_that_very_model(drawn: tuple[str, list[np.ndarray], list[float]]) -> None:
    _, replies, weights = drawn
    mean = mean_of([replies[0]] * len(weights), weights)
    assert np.array_equal(mean, replies[0])  # bits but for the sign of zero: no value is not-a-number


@quickly
@given(rounds(FRACTIONAL_WEIGHTS))
def test_other_weights_count_as_numbers_of_29_bits(drawn: tuple[str, list[np.ndarray], list[float]]) -> None:
    dtype, replies, weights = drawn
    rounded = [in_29_bits(weight) for weight in weights]
    for place, mean in enumerate(mean_of(replies, weights)):
        assert units_off(mean, [reply[place] for reply in replies], rounded, dtype) <= 1


@quickly
@given(rounds(), st.integers(0, 7))
def test_a_reply_that_is_refused_late_leaves_no_trace(drawn: tuple[str, list[np.ndarray], list[float]], bad: int) -> None:
    dtype, replies, weights = drawn
    model = {"w": np.zeros_like(replies[0]), "last": np.zeros(1, dtype)}
    mean = ExactMean(model)
    for reply, weight in zip(replies, weights, strict=True):
        with pytest.raises(Exception, match="UPDATE-NONFINITE"):
            mean.add({"w": reply * np.asarray(0.5, dtype), "last": np.array([np.nan], dtype)}, 3 + bad / 7)
        mean.add({"w": reply, "last": np.ones(1, dtype)}, weight)
    assert mean.result()["w"].tobytes() == mean_of(replies, weights).tobytes()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", [1e9, 1e-2]),
        ("float32", [1e6, 1e-5]),
        ("float32", [2.5e6, 1.0, 1e-3, 1e-4]),
        ("float32", [3.4e38, 1e-45]),
        ("float64", [1e-10]),
        ("float64", [1 + 1e-12]),
        ("float64", [1.7e308, 5e-324]),
    ],
)
@pytest.mark.parametrize("weight", [1, 10, 2000])
def test_small_values_beside_large_ones_are_kept(dtype: str, values: list[float], weight: int) -> None:
    model = np.array(values, dtype)
    assert mean_of([model] * 3, [weight] * 3).tobytes() == model.tobytes()


BELOW_2 = 2 - 2.0**-23  # the float32 before 2


@pytest.mark.parametrize(
    ("dtype", "replies"),  # of a type, a value and a weight each
    [
        ("float32", [("float32", BELOW_2, 2**36 - 1)] * 20),
        ("float32", [("float32", 2.0**-10 * (1 + 2.0**-23), 1), *[("float32", 2.0**30 * BELOW_2, 2**21 - 1)] * 40]),
        ("float64", [("float16", 1.0, 1), ("float64", 1.1 * 2.0**-80, 1)]),
        ("float64", [("float64", 1.0, 1), ("float64", 1.1 * 2.0**-40, 3), ("float32", 1.5 * 2.0**-90, 1)]),
    ],
    ids=["many full weights", "far apart and many", "a step that becomes much smaller", "twice smaller"],
)
def test_long_sums_are_right(dtype: str, replies: list[tuple[str, float, int]]) -> None:
    values, weights = [value for _, value, _ in replies], [weight for *_, weight in replies]
    mean = mean_of([np.zeros(1, dtype), *[np.array([value], kind) for kind, value, _ in replies]], [1, *weights])
    assert units_off(mean[0], [0.0, *values], [1, *weights], dtype) <= 1


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the numbers of values that had to wait for the end of the round, on disk if they are many."""
    counts: list[int] = []
    put = LeftoverValues.put

    def count(self: LeftoverValues, weight: float, places: np.ndarray, values: np.ndarray) -> int:
        counts.append(places.size)
        return put(self, weight, places, values)

    monkeypatch.setattr(LeftoverValues, "put", count)
    return counts


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("value", [1e30, 1e10, 1e-10, 1e-30])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_reply_that_is_refused_makes_no_other_wait(value: float, place: int, few: bool, waiting: list[int]) -> None:
    rng = np.random.default_rng(0)
    model = {"w": np.zeros(BLOCK + 9, np.float32), "last": np.zeros(1, np.float32)}
    replies = [{**model, "w": rng.standard_normal(BLOCK + 9, dtype=np.float32)} for _ in range(3)]
    bad = {"w": np.full(BLOCK + 9, value, np.float32), "last": np.array([np.nan], np.float32)}
    if few:
        bad["w"][1:] = 0
    mean, alone = ExactMean(model), ExactMean(model)
    for k in range(4):
        if k == place:
            with pytest.raises(ExchangeError, match="UPDATE-NONFINITE"):
                mean.add(bad, 2**20)
        if k < 3:
            mean.add(replies[k], 5)
            alone.add(replies[k], 5)
    assert waiting == []
    assert mean.result()["w"].tobytes() == alone.result()["w"].tobytes()


@pytest.mark.parametrize(("few", "limit"), [(True, 4), (False, 2 * BLOCK)])
@pytest.mark.parametrize("value", [1e30, 1e-30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_reply_of_another_size_makes_no_other_wait(
    dtype: str, value: float, few: bool, limit: int, waiting: list[int]
) -> None:
    rng = np.random.default_rng(0)
    odd = np.full(BLOCK, value**3 if dtype == "float64" else value, dtype)
    if few:
        odd[2:] = 0
    replies = [odd, *[rng.standard_normal(BLOCK).astype(dtype) for _ in range(5)]]
    mean = mean_of(replies, [3, 10, 20, 30, 40, 50])
    assert sum(waiting) <= limit
    for place in (0, 1, 2, BLOCK - 1):
        assert units_off(mean[place], [reply[place] for reply in replies], [3, 10, 20, 30, 40, 50], dtype) <= 1
    assert mean.tobytes() == mean_of(replies[::-1], [50, 40, 30, 20, 10, 3]).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_may_be_larger_than_the_largest_float(dtype: str) -> None:
    largest = np.finfo(dtype).max
    replies = [np.array([largest, largest], dtype), np.array([largest, -largest], dtype)]
    assert mean_of(replies, [2**53, 2**53]).tolist() == [largest, 0.0]


@pytest.mark.parametrize("weights", [[1] * 6, [2000, 1, 7, 333, 12, 5], [0.3, 1.7, 0.1, 4.0, 2.5, 0.9]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_blocks_of_any_range_are_right(dtype: str, weights: list[float]) -> None:
    size, rng = BLOCK + 3, np.random.default_rng(0)
    wide = np.arange(size) % 300 == 2
    replies = [np.ldexp(rng.standard_normal(size), rng.integers(-60, 60, size) * wide).astype(dtype) for _ in range(6)]
    mean = mean_of(replies, weights)
    assert mean.tobytes() == mean_of(replies[::-1], weights[::-1]).tobytes()
    used = [weight if weight == int(weight) else in_29_bits(weight) for weight in weights]
    places = [*rng.integers(0, size, 20), *np.flatnonzero(wide)[::20], size - 1]
    for place in places:
        assert units_off(mean[place], [reply[place] for reply in replies], used, dtype) <= 1
