"""Fingerprint of a hospital's images, for a plan: counts in bins and sums, which add up over hospitals.

After nnU-Net's data set fingerprint (Isensee et al. 2021), but with no entry for a single case. All numbers are integers, so
the merged fingerprint of several hospitals has the same bits as that of all their cases together, in any order, and every array
can be sent under secure aggregation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import reduce
from typing import Self

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError, ExchangeError
from medfl.planning import bins
from medfl.planning.bins import Counts
from medfl.study import Study

CROP_THRESHOLD = 0.75  # a case that keeps a smaller share of its voxels counts as cropped


@dataclass(frozen=True)
class Scope:
    """Scope of a fingerprint: what it is about. Only fingerprints of one scope can be merged.

    Parameters
    ----------
    dimension : int
        2 or 3.
    modality : str
        Modality as in the study; only CT has intensities, as other images are normalised one by one.
    classes : tuple of str
        Names of the study's classes.
    channels : int
        Number of channels of each image.
    crop : str
        Crop after which shapes are measured: that of the study, but volumes are at least cropped to their non-zero voxels.
    """

    dimension: int
    modality: str
    classes: tuple[str, ...]
    channels: int
    crop: str

    @classmethod
    def from_study(cls, study: Study) -> Self:
        """Return the scope of a study."""
        task, crop = study.task, study.preprocessing.crop
        chosen = "nonzero" if crop == "none" and task.dimension == 3 else crop
        return cls(task.dimension, task.modality, task.classes, task.channel_count, chosen)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays of a fingerprint of this scope, by name; a single number has none."""
        axes, foreground, channels = self.dimension, len(self.classes) - 1, self.channels if self.modality == "CT" else 0
        return {
            "cases": (),
            "cropped": (),
            "marked": (),
            "spacing": (axes, bins.SPACING.count),
            "extent": (axes, bins.EXTENT.count),
            "size": (axes, bins.SIZE.count),
            "present": (foreground,),
            "fractions": (foreground,),
            "hidden": (foreground,),
            "intensities": (channels, bins.HU_BINS),
            "means": (channels,),
            "squares": (channels,),
        }


@dataclass(frozen=True, eq=False)
class CaseMeasurements:
    """Measurements of one case. They never leave the site.

    Parameters
    ----------
    spacing : tuple of float
        Millimetres between voxels along x, y(, z).
    shape : tuple of int
        Voxels along each axis after the crop.
    kept : float
        Share of the voxels that is left after the crop.
    fractions : tuple of float
        Share of the cropped voxels in each foreground class.
    foreground : tuple of ndarray
        CT: the values of all marked voxels in HU, one array for each channel; else empty.
    """

    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    kept: float
    fractions: tuple[float, ...]
    foreground: tuple[NDArray[np.number], ...] = ()


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Counts and sums over cases. Shapes are those of `Scope.shapes`; all numbers are integers.

    Parameters
    ----------
    scope : Scope
        What it is about.
    cases, cropped, marked : int
        Cases; those that lost more than a quarter to the crop; those with a marked voxel.
    spacing, extent, size : ndarray of int64
        (axes, bins): cases by voxel size and extent in mm, and size in voxels, in the bins of `medfl.planning.bins`.
    present, fractions, hidden : ndarray of int64
        Values by foreground class: cases that have it; sum of the shares of their voxels, in units of
        1 / `bins.FRACTION_SCALE`; hospitals that hide both, because too few cases have it or lack it.
    intensities : ndarray of int64
        (channels, 4096): histogram of the marked voxels in bins of 1 HU, in which every case weighs `bins.FRACTION_SCALE`.
    means, squares : ndarray of int64
        (channels,): sums over cases of the mean and the mean square of the marked voxels, in units of 1 / `bins.MOMENT_SCALE`.
    """

    scope: Scope
    cases: int
    cropped: int
    marked: int
    spacing: Counts
    extent: Counts
    size: Counts
    present: Counts
    fractions: Counts
    hidden: Counts
    intensities: Counts
    means: Counts
    squares: Counts

    @classmethod
    def empty(cls, scope: Scope) -> Self:
        """Return the fingerprint of no case."""
        return cls.from_arrays(scope, {name: np.zeros(shape, np.int64) for name, shape in scope.shapes.items()})

    @classmethod
    def from_case(cls, scope: Scope, case: CaseMeasurements) -> Self:
        """Return the fingerprint of one case."""
        extents = [size * step for size, step in zip(case.shape, case.spacing, strict=True)]
        values = [channel for channel in case.foreground if len(channel)]
        parts = {
            "cases": 1,
            "cropped": int(case.kept < CROP_THRESHOLD),
            "marked": int(any(case.fractions)),
            "spacing": bins.bin_values(bins.SPACING, case.spacing),
            "extent": bins.bin_values(bins.EXTENT, extents),
            "size": bins.bin_values(bins.SIZE, case.shape),
            "present": [int(fraction > 0) for fraction in case.fractions],
            "fractions": [round(fraction * bins.FRACTION_SCALE) for fraction in case.fractions],
        }
        if values:
            parts["intensities"] = [bins.intensity_histogram(channel) for channel in values]
            parts["means"] = [_moment(channel) for channel in values]
            parts["squares"] = [_moment(np.square(channel, dtype=np.float64)) for channel in values]
        counted = {name: np.asarray(part, np.int64) for name, part in parts.items()}
        return cls.from_arrays(scope, cls.empty(scope).arrays() | counted)

    @classmethod
    def from_arrays(cls, scope: Scope, arrays: dict[str, Counts]) -> Self:
        """Return the fingerprint with these `arrays`."""
        return cls(scope, **{name: a if a.ndim else int(a) for name, a in arrays.items()})  # type: ignore[arg-type]

    def arrays(self) -> dict[str, Counts]:
        """Return everything but the scope, by name: all that is added up, in the clear or under secure aggregation."""
        return {field.name: np.asarray(getattr(self, field.name), np.int64) for field in fields(self) if field.name != "scope"}

    def suppress(self, k: int) -> Self:
        """Return what may leave a hospital under a rule for small counts.

        A class that fewer than `k` cases have, or lack, is hidden. If fewer than `k` cases are marked, intensities are
        left out; if fewer than `k` are not marked, they are scaled as if all were. A bin may hold a single one of the cases.

        Parameters
        ----------
        k : int
            Smallest count that may leave; 0 switches the rule off.

        Raises
        ------
        DataError
            ``FINGERPRINT-FEW`` when there are fewer than `k` cases: a histogram of so few nearly shows each of them.
        """
        if self.cases < max(k, 1):
            raise too_few_error(self.cases, k)
        arrays = self.arrays()
        hide = np.array([_is_small(int(n), self.cases, k) for n in self.present], bool)
        arrays |= {"present": np.where(hide, 0, self.present), "fractions": np.where(hide, 0, self.fractions)}
        arrays["hidden"] = np.where(hide, 1, self.hidden)
        arrays["cropped"] = np.asarray(_suppress_count(self.cropped, self.cases, k))
        marked = _suppress_count(self.marked, self.cases, k)
        arrays["marked"] = np.asarray(marked)
        for name in ("intensities", "means", "squares"):
            arrays[name] = _scale_sums(arrays[name], marked, self.marked)
        return self.from_arrays(self.scope, arrays)


def merge(fingerprints: Iterable[Fingerprint]) -> Fingerprint:
    """Add fingerprints; the result has the same bits in any order.

    Raises
    ------
    ExchangeError
        ``FINGERPRINT-SCOPE`` when they are about different things.
    """
    return reduce(_add, fingerprints)


def too_few_error(cases: int, k: int) -> DataError:
    """Return the error of a hospital that has too few cases or patients for a fingerprint."""
    what = f"{cases} are fewer than the {max(k, 1)} cases and patients that a fingerprint of this site needs."
    return DataError("FINGERPRINT-FEW", what, "Add patients, or lower 'min-count' in the policy of the site.")


def check_scope(fingerprint: Fingerprint, scope: Scope) -> None:
    """Raise ExchangeError ``FINGERPRINT-SCOPE`` when a fingerprint is about something else."""
    if fingerprint.scope != scope:
        what = "a fingerprint differs in dimension, modality, classes, channels or crop."
        raise ExchangeError("FINGERPRINT-SCOPE", what, "Make it anew with one and the same study.")


def _add(one: Fingerprint, other: Fingerprint) -> Fingerprint:
    check_scope(other, one.scope)
    added = other.arrays()
    return Fingerprint.from_arrays(one.scope, {name: array + added[name] for name, array in one.arrays().items()})


def _moment(values: NDArray[np.number]) -> int:
    return round(float(np.mean(values, dtype=np.float64)) * bins.MOMENT_SCALE)


def _is_small(count: int, total: int, k: int) -> bool:
    return 0 < count < k or 0 < total - count < k


def _suppress_count(count: int, total: int, k: int) -> int:
    """Return a count that shows nothing about a small group, neither the counted cases nor the rest."""
    if 0 < count < k:
        return 0
    return total if 0 < total - count < k else count


def _scale_sums(sums: Counts, disclosed: int, true: int) -> Counts:
    if disclosed == true:
        return sums
    exact = [value * disclosed // max(true, 1) for value in map(int, sums.ravel())]  # the product may need more than 64 bits
    return np.array(exact, np.int64).reshape(sums.shape)
