"""Bins in which all hospitals count, and percentiles of the counts.

All counts are integers, so that sums over hospitals have the same bits in any order. Fractions (the share of a case's voxels in
a bin, a mean) are integers in units of a fixed small fraction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

FRACTION_SCALE = 2**32  # one case's weight in a histogram of intensities, and a voxel fraction of 1
MOMENT_SCALE = 2**12  # a mean of 1 HU, and a mean square of 1 HU^2
HU_MIN, HU_BINS = -1024, 4096  # bins of 1 HU, each about a whole number


@dataclass(frozen=True)
class LogBins:
    """Bins whose edges grow by a constant factor; values outside are counted in the first or the last bin.

    Parameters
    ----------
    lowest, highest : float
        Range that must be covered.
    ratio : float
        Ratio of the upper to the lower edge of a bin.
    """

    lowest: float
    highest: float
    ratio: float

    @property
    def count(self) -> int:
        """Number of bins."""
        return math.ceil(math.log(self.highest / self.lowest) / math.log(self.ratio))

    def index(self, value: float) -> int:
        """Return the bin of a value."""
        return min(max(math.floor(math.log(value / self.lowest) / math.log(self.ratio)), 0), self.count - 1)

    def edges(self, index: int) -> tuple[float, float]:
        """Return the lower and the upper edge of a bin."""
        return self.lowest * self.ratio**index, self.lowest * self.ratio ** (index + 1)

    def center(self, index: int) -> float:
        """Return the geometric middle of a bin, which is at most half a bin off."""
        return math.sqrt(math.prod(self.edges(index)))

    def round_value(self, index: int) -> float:
        """Return the number in a bin with the fewest digits; of several, the one nearest to its middle.

        Most voxel sizes are round numbers, and resampling 1 mm to 0.9993 mm would blur every image for nothing.

        Examples
        --------
        >>> SPACING.round_value(SPACING.index(1.0)), SPACING.round_value(SPACING.index(0.7421875))
        (1.0, 0.74)
        """
        low, high = self.edges(index)
        middle = self.center(index)
        for digits in range(9):
            step = 10.0**-digits
            steps = [n for n in range(math.ceil(low / step), math.ceil(high / step)) if n]
            if steps:
                return round(min(steps, key=lambda n: abs(n * step - middle)) * step, digits)
        return middle


SPACING = LogBins(0.05, 50.0, 1.005)  # mm
EXTENT = LogBins(1.0, 4000.0, 1.01)  # mm, spacing times size
SIZE = LogBins(1.0, 10000.0, 1.01)  # voxels, and pixels of X-rays


def bin_values(bins: LogBins, values: Sequence[float]) -> Counts:
    """Return the counts (axes, bins) of one case: a 1 in the bin of each axis."""
    counts = np.zeros((len(values), bins.count), np.int64)
    for axis, value in enumerate(values):
        counts[axis, bins.index(value)] = 1
    return counts


def percentile_bins(counts: Counts, percent: float) -> tuple[int, int, float]:
    """Return where a percentile of counted values lies, as `numpy.percentile` defines it: between two of them.

    Parameters
    ----------
    counts : ndarray of int64
        (bins,), with at least one value.
    percent : float
        Percentile, from 0 to 100.

    Returns
    -------
    lower, upper : int
        Bins of the two values that it lies between.
    weight : float
        Fraction of the way from the lower to the upper one, 0 to 1.
    """
    cumulative = np.cumsum(counts)
    rank = percent / 100 * (int(cumulative[-1]) - 1)
    lower, upper = (int(np.searchsorted(cumulative, place, side="right")) for place in (math.floor(rank), math.ceil(rank)))
    return lower, upper, rank - math.floor(rank)


def intensity_histogram(values: NDArray[np.number]) -> Counts:
    """Return the histogram of one case's foreground in HU, (4096,), whose sum is `FRACTION_SCALE` up to rounding."""
    indices = np.rint(values).astype(np.int64) - HU_MIN
    counts = np.bincount(np.clip(indices, 0, HU_BINS - 1), minlength=HU_BINS)
    return (counts * FRACTION_SCALE + len(values) // 2) // len(values)


def intensity_percentile(weights: Counts, percent: float) -> float:
    """Return a percentile of intensities in HU, interpolated within its bin."""
    cumulative = np.cumsum(weights)
    target = percent / 100 * float(cumulative[-1])
    index = int(np.searchsorted(cumulative, target))
    below = float(cumulative[index - 1]) if index else 0.0
    return HU_MIN - 0.5 + index + (target - below) / max(float(weights[index]), 1.0)
