"""Bins lose less than their width, and their percentiles are numpy's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medfl.planning import bins
from medfl.planning.bins import EXTENT, FRACTION_SCALE, HU_MIN, SIZE, SPACING, LogBins


@pytest.mark.parametrize("of", [SPACING, EXTENT, SIZE])
def test_every_value_lies_in_its_bin(of: LogBins) -> None:
    for value in np.geomspace(of.lowest, of.highest, 997)[:-1]:
        low, high = of.edges(of.index(value))
        assert low * (1 - 1e-12) <= value <= high * (1 + 1e-12)
        assert high / low == pytest.approx(of.ratio)


def test_what_lies_outside_is_counted_at_the_end() -> None:
    assert (SPACING.index(0.001), SPACING.index(1000.0)) == (0, SPACING.count - 1)


@pytest.mark.parametrize(("mm", "expected"), [(1.0, 1.0), (0.8, 0.8), (1.25, 1.25), (5.0, 5.0), (0.7421875, 0.74), (2.5, 2.5)])
def test_a_round_voxel_size_is_found_again(mm: float, expected: float) -> None:
    assert SPACING.round_value(SPACING.index(mm)) == expected


def test_no_voxel_size_is_off_by_more_than_a_bin() -> None:
    for mm in np.geomspace(0.06, 45, 1001):
        assert abs(math.log(SPACING.round_value(SPACING.index(mm)) / mm)) <= math.log(1.005) + 1e-12


@pytest.mark.parametrize("percent", [0, 10, 50, 90, 100])
@pytest.mark.parametrize("count", [1, 2, 5, 30, 31])
def test_percentiles_of_counts_are_those_of_numpy(count: int, percent: float) -> None:
    values = np.random.default_rng(count).uniform(0.3, 6.0, count)
    counts = sum(bins.bin_values(SPACING, [value])[0] for value in values)
    lower, upper, weight = bins.percentile_bins(counts, percent)
    ranked, rank = np.sort(values), percent / 100 * (count - 1)
    assert lower == SPACING.index(ranked[math.floor(rank)])
    assert upper == SPACING.index(ranked[math.ceil(rank)])
    assert weight == pytest.approx(rank - math.floor(rank))


def test_intensities_of_one_case_weigh_one_whatever_their_number() -> None:
    few, many = np.array([10.0, 20.6]), np.repeat([10.0, 20.6], 5000)
    assert bins.intensity_histogram(few).tolist() == bins.intensity_histogram(many).tolist()
    assert bins.intensity_histogram(few)[[10 - HU_MIN, 21 - HU_MIN]].tolist() == [FRACTION_SCALE // 2, FRACTION_SCALE // 2]


def test_intensities_outside_the_range_are_kept_at_its_ends() -> None:
    counts = bins.intensity_histogram(np.array([-5000.0, 9000.0]))
    assert counts[[0, -1]].tolist() == [FRACTION_SCALE // 2, FRACTION_SCALE // 2]


@pytest.mark.parametrize("percent", [0.5, 50, 99.5])
def test_percentiles_of_intensities_are_right_to_a_unit(percent: float) -> None:
    values = np.random.default_rng(0).normal(60, 45, 20000)
    assert bins.intensity_percentile(bins.intensity_histogram(values), percent) == pytest.approx(
        np.percentile(values, percent), abs=1.0
    )
