"""From updates to integers and back: exact to the quantisation, never wrapped, clipped values counted."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation import (
    Attempt,
    ModularVector,
    TensorLayout,
    VectorLayout,
    bounds_from,
    decode_sum,
    encode_update,
    encoding,
    quantisation_error_bounds,
)
from medfl.secure_aggregation.keystream import Keystream
from medfl.secure_aggregation.rounding import TensorRounding
from medfl.secure_aggregation.vector import zero_vector

ATTEMPT = Attempt("study", "federated", "run", "0" * 64, 1, 1)
SECRET = bytes(range(32))


def layout_of(bits: int, sites: int, counters: tuple[str, ...] = ("images",)) -> VectorLayout:
    tensors = (TensorLayout("conv", (20, 3), 0.5), TensorLayout("bias", (4,), 1e-3), TensorLayout("still", (2,), 0.0))
    return VectorLayout(tensors, bits, sites, weight_ceiling=50, counters=counters)


def draw_update(rng: np.random.Generator, layout: VectorLayout) -> dict[str, NDArray[np.floating]]:
    return {t.name: rng.uniform(-t.bound, t.bound, t.shape).astype(np.float32) for t in layout.tensors}


def encode(
    layout: VectorLayout, update: dict[str, Any], weight: Any = 10, secret: bytes = SECRET, **counters: Any
) -> ModularVector:
    return encode_update(layout, update, weight, counters or dict.fromkeys(layout.counters, 0), secret, ATTEMPT)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("sites", [3, 8, 32])
def test_the_mean_is_exact_to_the_quantisation(sites: int, bits: int) -> None:
    layout, rng = layout_of(bits, sites), np.random.default_rng(sites)
    updates = [draw_update(rng, layout) for _ in range(sites)]
    weights = [int(w) for w in rng.integers(1, 51, sites)]
    total = zero_vector(layout)
    for number, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        total.add(encode(layout, update, weight, bytes([number]) * 32, images=3 * weight))
    result = decode_sum(layout, total, sites, np.float64)
    assert (result.weight, result.clipped, result.counters) == (sum(weights), 0, {"images": 3 * sum(weights)})
    bounds = quantisation_error_bounds(layout, sites, sum(weights))
    for tensor in layout.tensors:
        exact = sum(w * u[tensor.name].astype(np.float64) for u, w in zip(updates, weights, strict=True)) / sum(weights)
        error = np.abs(result.mean[tensor.name] - exact).max()
        assert error <= bounds[tensor.name]
        assert error > bounds[tensor.name] / 1000 or tensor.bound == 0  # the bound tells something


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sum_does_not_wrap(bits: int, sign: int) -> None:
    layout = layout_of(bits, 32)
    update = {t.name: np.full(t.shape, sign * t.bound) for t in layout.tensors}
    total = zero_vector(layout)
    for number in range(32):
        total.add(encode(layout, update, 50, bytes([number]) * 32, images=sign * layout.counter_limit))
    result = decode_sum(layout, total, 32, np.float64)
    assert result.counters == {"images": sign * 32 * layout.counter_limit}
    for tensor in layout.tensors:
        np.testing.assert_allclose(result.mean[tensor.name], sign * tensor.bound, rtol=1e-9)


def test_no_draw_rounds_beyond_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest draw makes float64 round the largest value up, one step too far."""
    monkeypatch.setattr(Keystream, "read", lambda _, size: b"\xff" * size)
    layout = layout_of(32, 3)
    vector = encode(layout, {t.name: np.full(t.shape, t.bound) for t in layout.tensors}, 50)
    assert np.abs(vector.parameters.view(np.int32)).max() == layout.levels


def test_a_site_of_weight_0_changes_nothing_but_the_number_of_sites() -> None:
    layout, rng = layout_of(32, 3), np.random.default_rng(0)
    vector = encode(layout, draw_update(rng, layout), 0)
    assert not vector.parameters.any()
    assert vector.counters.tolist() == [1, 0, 0, 0]


def test_values_beyond_their_range_are_clipped_and_counted() -> None:
    layout = layout_of(32, 3)
    update = {"conv": np.zeros((20, 3)), "bias": np.array([0.002, -0.002, 0.001, 0.0]), "still": np.array([0.0, 0.1])}
    result = decode_sum(layout, encode(layout, update, 50), 1, np.float64)
    assert result.clipped == 3
    np.testing.assert_allclose(result.mean["bias"], [0.001, -0.001, 0.001, 0.0], atol=1e-11)
    assert not result.mean["still"].any()


def test_rounding_keeps_the_mean() -> None:
    rounded = TensorRounding(SECRET, ATTEMPT, "w").round(np.full(100_000, 2.3))
    assert set(np.unique(rounded)) == {2.0, 3.0}
    assert abs(rounded.mean() - 2.3) < 5 * np.sqrt(0.21 / 100_000)


def test_an_attempt_that_is_repeated_repeats_its_bits_and_nothing_else_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    layout, update = layout_of(16, 3), draw_update(np.random.default_rng(1), layout_of(16, 3))
    counters = {"images": 0}

    def digest(secret: bytes = SECRET, **change: Any) -> str:
        fields = {"study": "study", "arm": "federated", "run": "run", "roster": "0" * 64, "round": 1, "number": 1}
        return encode_update(layout, update, 7, counters, secret, Attempt(**(fields | change))).digest()

    first = digest()
    monkeypatch.setattr(encoding, "CHUNK", 7)  # however the tensors are cut
    assert digest() == first
    changes = [{"study": "x"}, {"arm": "x"}, {"run": "x"}, {"round": 2}, {"number": 2}]
    assert len({first, digest(bytes(32)), *(digest(**change) for change in changes)}) == 7
    same = np.full(200, 0.3)
    assert (
        TensorRounding(SECRET, ATTEMPT, "a").round(same.copy()).tolist()
        != TensorRounding(SECRET, ATTEMPT, "b").round(same).tolist()
    )


@pytest.mark.parametrize(
    ("change", "weight", "code"),
    [
        ({"conv": np.full((20, 3), np.nan)}, 1, "SECAGG-NOT-FINITE"),
        ({"still": np.array([0.0, np.inf])}, 1, "SECAGG-NOT-FINITE"),
        ({"bias": np.zeros(5)}, 1, "SECAGG-LAYOUT"),
        ({"more": np.zeros(5)}, 1, "SECAGG-LAYOUT"),
        ({"bias": np.zeros(4, np.int64)}, 1, "SECAGG-LAYOUT"),
        ({}, 51, "SECAGG-WEIGHT"),
        ({}, -1, "SECAGG-WEIGHT"),
        ({}, 1.5, "SECAGG-WEIGHT"),
        ({}, True, "SECAGG-WEIGHT"),
    ],
)
def test_what_has_no_place_in_the_sum_is_refused(change: dict[str, Any], weight: Any, code: str) -> None:
    layout = layout_of(32, 3)
    update = {t.name: np.zeros(t.shape) for t in layout.tensors} | change
    with pytest.raises(SecureAggregationError, match=code):
        encode(layout, update, weight)


def test_a_count_that_could_wrap_is_refused() -> None:
    layout = layout_of(32, 3)
    update = {t.name: np.zeros(t.shape) for t in layout.tensors}
    for count in (layout.counter_limit + 1, -layout.counter_limit - 1, 1.0):
        with pytest.raises(SecureAggregationError, match="SECAGG-WEIGHT"):
            encode(layout, update, images=count)
    with pytest.raises(SecureAggregationError, match="SECAGG-LAYOUT"):
        encode(layout, update, patients=1)


@pytest.mark.parametrize("change", ["sites", "weight", "clipped"])
def test_what_is_no_sum_of_the_sites_is_refused(change: str) -> None:
    layout = layout_of(32, 3)
    total = encode(layout, {t.name: np.zeros(t.shape) for t in layout.tensors}, 50)
    total.counters[layout.all_counters.index(change)] += np.uint64(100)
    with pytest.raises(SecureAggregationError, match="SECAGG-SUM"):
        decode_sum(layout, total, 1)


def test_no_weight_is_no_mean() -> None:
    layout = layout_of(32, 3)
    with pytest.raises(SecureAggregationError, match="SECAGG-WEIGHT"):
        decode_sum(layout, encode(layout, {t.name: np.zeros(t.shape) for t in layout.tensors}, 0), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 8},
        {"sites": 2},
        {"sites": 33},
        {"weight_ceiling": 0},
        {"weight_ceiling": 1 << 62},
        {"counters": ("weight",)},
        {"tensors": (TensorLayout("a", (1,), 1.0),) * 2},
        {"tensors": (TensorLayout("a", (1,), float("nan")),)},
        {"tensors": (TensorLayout("a", (1,), -1.0),)},
        {"tensors": (TensorLayout("a", (-1,), 1.0),)},
    ],
)
def test_a_layout_that_is_none_is_refused(change: dict[str, Any]) -> None:
    fields = {"tensors": (), "bits": 32, "sites": 3, "weight_ceiling": 1} | change
    with pytest.raises(SecureAggregationError, match="SECAGG-LAYOUT"):
        VectorLayout(**fields)


def test_ranges_come_from_the_largest_value() -> None:
    arrays = {"a": np.array([-2.0, 1.0]), "b": np.zeros(3), "c": np.zeros(0)}
    assert bounds_from(arrays, margin=1.5) == {"a": 3.0, "b": 0.0, "c": 0.0}
    with pytest.raises(SecureAggregationError, match="SECAGG-NOT-FINITE"):
        bounds_from({"a": np.array([np.nan])}, 1.5)


@pytest.mark.parametrize(("bits", "models"), [(32, 1.0), (16, 0.5)])
def test_memory_beyond_the_update_is_the_vector(bits: int, models: float) -> None:
    size = 4_000_000
    update = {"w": np.zeros(size, np.float32)}
    layout = VectorLayout((TensorLayout("w", (size,), 1.0),), bits, 8, 1)
    tracemalloc.start()
    try:
        encode(layout, update, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < models * update["w"].nbytes + 12_000_000  # chunks, whatever the model's size
