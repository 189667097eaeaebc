"""Statistics of a fingerprint, in millimetres, voxels and Hounsfield units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medfl.planning import bins
from medfl.planning.bins import Counts, LogBins
from medfl.planning.fingerprint import Fingerprint


@dataclass(frozen=True)
class IntensityStatistics:
    """Statistics of the marked voxels of all cases and channels, each case with the same weight.

    Parameters
    ----------
    mean, std : float
        HU.
    low, median, high : float
        Percentiles 0.5, 50 and 99.5, HU.
    """

    mean: float
    std: float
    low: float
    median: float
    high: float


def spacing_percentile(fingerprint: Fingerprint, axis: int, percent: float) -> float:
    """Return a percentile of the voxel sizes along an axis, mm, as the roundest number of its bin of 0.5 %."""
    lower, upper, weight = bins.percentile_bins(fingerprint.spacing[axis], percent)
    return (1 - weight) * bins.SPACING.round_value(lower) + weight * bins.SPACING.round_value(upper)


def median_size(fingerprint: Fingerprint) -> tuple[int, ...]:
    """Return the median size of the images along each axis in voxels, to 1 %."""
    return tuple(_median_voxels(bins.SIZE, axis, 1.0) for axis in fingerprint.size)


def median_shape(fingerprint: Fingerprint, target: Sequence[float]) -> tuple[int, ...]:
    """Return the median size of the images along each axis in voxels, to 1 %, after resampling.

    The size after resampling grows with the extent, so that its median is the median extent divided by the target.

    Parameters
    ----------
    fingerprint : Fingerprint
        Fingerprint of volumes.
    target : sequence of float
        Voxel size that they are resampled to, mm.
    """
    return tuple(_median_voxels(bins.EXTENT, axis, step) for axis, step in zip(fingerprint.extent, target, strict=True))


def is_mostly_cropped(fingerprint: Fingerprint) -> bool:
    """Return whether the median case loses more than a quarter of its voxels to the crop."""
    return fingerprint.cropped * 2 > fingerprint.cases


def _median_voxels(scale: LogBins, counts: Counts, step: float) -> int:
    """Return the integer in the bin of the median that can be halved most often.

    Most images are 256, 320 or 512 voxels wide. With 513 instead of 512, nnU-Net's rules would pad a patch to 576.
    """
    lower, upper, weight = bins.percentile_bins(counts, 50)
    ends = zip(scale.edges(lower), scale.edges(upper), strict=True)
    low, high = (((1 - weight) * one + weight * other) / step for one, other in ends)
    middle = math.sqrt(low * high)
    within = range(math.ceil(low), math.ceil(high)) or [round(middle)]
    return max(1, min(within, key=lambda n: (-(n & -n), abs(n - middle))))  # n & -n: the power of 2 that divides it


def intensity_statistics(fingerprint: Fingerprint) -> IntensityStatistics | None:
    """Return the statistics of marked voxels; None where no hospital gave any."""
    weight = fingerprint.marked * len(fingerprint.means) * bins.MOMENT_SCALE
    if not weight:
        return None
    mean, mean_square = int(fingerprint.means.sum()) / weight, int(fingerprint.squares.sum()) / weight
    histogram = fingerprint.intensities.sum(0)
    low, median, high = (bins.intensity_percentile(histogram, percent) for percent in (0.5, 50.0, 99.5))
    return IntensityStatistics(mean, math.sqrt(max(mean_square - mean**2, 0.0)), low, median, high)
