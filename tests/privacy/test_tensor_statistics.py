"""Statistics of tensors: random weights show nothing, at any size, and crafted ones are counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medfl.privacy.tensor_statistics import FilterCounts, count_filters, count_saturated, measure_change, measure_extent

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(32, 1, 3, 3), (64, 64, 3, 3), (512, 512, 3, 3), (16, 8, 3, 3, 3), (2, 512)])
def test_random_filters_are_nothing_unusual(shape: tuple[int, ...]) -> None:
    weights = RNG.standard_normal(shape).astype(np.float32)
    assert count_filters(weights) == FilterCounts(shape[0])


def test_constant_one_hot_and_repeated_filters_are_counted_apart() -> None:
    weights = RNG.standard_normal((8, 9)).astype(np.float32)
    weights[0], weights[1] = 0, 0.3
    weights[2] = 0.01 * weights[2]
    weights[2, 4] = 1
    weights[4], weights[5] = 2 * weights[3], -weights[3]
    assert count_filters(weights) == FilterCounts(8, 2, 1, 2)


def test_small_filters_and_vectors_are_not_judged() -> None:
    assert count_filters(np.zeros((8, 8), np.float32)) == count_filters(np.zeros(8, np.float32)) == FilterCounts()


def test_units_are_saturated_when_their_bias_outweighs_their_weights() -> None:
    assert count_saturated(np.array([1.0, 0.01]), np.array([0.5, -0.5])) == 1
    weights = RNG.standard_normal((2, 3, 3, 3))
    assert count_saturated(weights, np.array([0.0, -1000.0])) == 1
    assert count_saturated(weights, np.array([0.0, -1000.0, 1000.0])) == 2  # transposed: the units are the second axis


def test_sizes_survive_what_is_not_finite_or_empty() -> None:
    assert measure_extent(np.array([3.0, -4.0], np.float32)) == pytest.approx((math.sqrt(12.5), 4.0))
    assert measure_extent(np.zeros(0, np.float32)) == (0.0, 0.0)
    assert measure_extent(np.array([1e30, 1.0], np.float32)).rms == math.inf
    assert math.isnan(measure_extent(np.array([np.nan], np.float32)).rms)
    assert measure_change(np.float16([1.0]), np.float16([0.5])) == (0.5, 0.5)
