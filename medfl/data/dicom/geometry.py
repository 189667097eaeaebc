"""Whether slices lie in the patient as a regular stack: one orientation, one distance, no gap, no shift, no tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

Numbers = NDArray[np.float64]

SAME_PLACE_MM = 0.01  # slices closer than this along the normal lie at one place
UNIT = 1e-3  # how far an orientation may be from perpendicular unit vectors, and from that of the other slices
PIXEL_SHARE = 1e-3  # relative difference of PixelSpacing within a series
DISTANCE_SHARE = 0.05  # relative deviation of a slice distance from the median
PIXELS = 0.5  # slices may be off the straight line by this many pixels
WHOLE = 0.1  # how far a gap of lost slices may be from a multiple of the distance
LOST_SHARE = 0.3  # when more of the gaps are wider, the series was taken that way and nothing got lost
WIDEST = 3.0  # a gap of more distances than this is not filled by interpolation
_AGAIN = "Export the series again from the PACS."


@dataclass(frozen=True, eq=False)
class Stack:
    """Where N slices lie, in DICOM's patient coordinates (LPS, mm).

    Parameters
    ----------
    positions : ndarray
        ImagePositionPatient, (N, 3).
    orientations : ndarray
        ImageOrientationPatient, (N, 6).
    pixels : ndarray
        PixelSpacing (between rows, between columns), (N, 2).
    """

    positions: Numbers
    orientations: Numbers
    pixels: Numbers

    def __post_init__(self) -> None:
        _check_orientation(self)

    @property
    def axes(self) -> Numbers:
        """Unit vectors along a row, along a column and across the slices, as the columns of a (3, 3) matrix."""
        row, normal = self.orientations[0, :3], np.cross(self.orientations[0, :3], self.orientations[0, 3:])
        row, normal = row / np.linalg.norm(row), normal / np.linalg.norm(normal)
        return np.stack([row, np.cross(normal, row), normal], axis=1)

    @property
    def pixel(self) -> tuple[float, float]:
        """Millimetres between rows and between columns."""
        rows, columns = self.pixels[0]
        return float(rows), float(columns)

    def along_normal(self) -> Numbers:
        """Place of each slice along the normal in millimetres: the only thing that slices are ever ordered by."""
        return np.asarray(self.positions @ self.axes[:, 2], dtype=np.float64)

    def sorted(self, order: NDArray[np.intp]) -> Stack:
        """Return the slices in another order."""
        return Stack(self.positions[order], self.orientations[order], self.pixels[order])


def _check_orientation(stack: Stack) -> None:
    rows, columns = stack.orientations[:, :3], stack.orientations[:, 3:]
    if not all(np.isfinite(part).all() for part in (stack.positions, stack.orientations, stack.pixels)):
        raise DataError("DCM-NONFINITE", "a position, orientation or pixel spacing is not a number.", _AGAIN)
    lengths = np.concatenate([np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1)])
    if np.abs(lengths - 1).max() > UNIT or np.abs((rows * columns).sum(axis=1)).max() > UNIT:
        what = "ImageOrientationPatient is not a pair of perpendicular unit vectors."
        raise DataError("DCM-IOP", what, "The header was damaged by a conversion; export the original.")
    if np.abs(stack.orientations - stack.orientations[0]).max() > UNIT:
        count = len(np.unique(np.round(stack.orientations, 2), axis=0))
        what = f"{max(count, 2)} different slice orientations in one series (localizer or multi-plane series)."
        fix = "Select the stack in column 'select' of the index with orientation=axial, coronal or sagittal, "
        raise DataError("DCM-ORIENT", what, f"{fix}or export the stacks as separate series.")
    if stack.pixels.min() <= 0 or (np.abs(stack.pixels - stack.pixels[0]) / stack.pixels[0]).max() > PIXEL_SHARE:
        low, high = stack.pixels.min(), stack.pixels.max()
        what = f"PixelSpacing differs between images or is not positive ({low:.4g} to {high:.4g} mm)."
        raise DataError("DCM-PIXELSPACING", what, "The series holds several reconstructions; export the one you want.")


def check_stack(stack: Stack, min_slices: int) -> list[DataError]:
    """Check slices that are sorted along their normal and all lie at different places.

    Parameters
    ----------
    stack : Stack
        The slices.
    min_slices : int
        Fewer are no volume.

    Returns
    -------
    list of DataError
        What resampling can put right, the first that was found first: ``DCM-SPACING``, ``DCM-GANTRY-TILT``.

    Raises
    ------
    DataError
        What nothing can put right: ``DCM-FEW-SLICES``, ``DCM-MISSING-SLICES``, ``DCM-SHIFT``.
    """
    count = len(stack.positions)
    if count < min_slices:
        what = f"only {count} slice(s); at least {min_slices} are needed for a 3-D volume."
        raise DataError("DCM-FEW-SLICES", what, "Check that the export is complete; scouts and single images are not volumes.")
    if count == 1:
        return []
    along = stack.along_normal()
    uneven = None if is_even(along, min(stack.pixel)) else _uneven(along)
    if uneven is not None and not (uneven.code == "DCM-SPACING" and _can_be_filled(along)):
        raise uneven
    return [fault for fault in (uneven, _check_line(stack)) if fault is not None]


def is_even(along: Numbers, pixel: float) -> bool:
    """Return whether slices lie at one distance, each for itself and in sum.

    Parameters
    ----------
    along : ndarray
        Their places along the normal, rising, mm.
    pixel : float
        Millimetres between pixels.
    """
    distances = np.diff(along)
    median = float(np.median(distances))
    grid = np.linspace(along[0], along[-1], len(along))  # many small deviations add up
    off = float(np.abs(along - grid).max())
    return bool(np.abs(distances / median - 1).max() <= DISTANCE_SHARE and off <= PIXELS * min(pixel, median))


def _can_be_filled(along: Numbers) -> bool:
    distances = np.diff(along)
    return bool(distances.max() <= WIDEST * np.median(distances))


def _uneven(along: Numbers) -> DataError:
    distances = np.diff(along)
    median = float(np.median(distances))
    multiples = distances / median
    whole = np.round(multiples)
    gaps = np.flatnonzero(whole > 1)
    regular = bool((np.abs(multiples - whole) < WHOLE).all() and (whole >= 1).all())
    if regular and 0 < len(gaps) < LOST_SHARE * len(distances):
        lost = (whole[gaps] - 1).astype(int)
        places = "; ".join(
            f"{n} between {along[k]:.2f} and {along[k + 1]:.2f} mm" for n, k in zip(lost[:3], gaps[:3], strict=True)
        )
        present, missing = len(along), int(lost.sum())
        what = (
            f"{missing} slice(s) missing: {places} (expected every {median:.3g} mm, {present} of {present + missing} present)."
        )
        fix = "Fetch the series again from the PACS (an interrupted transfer is the usual cause)."
        return DataError("DCM-MISSING-SLICES", what, fix)
    what = f"slice distance is not uniform: {distances.min():.3g} to {distances.max():.3g} mm (median {median:.3g})."
    fix = "Use a series reconstructed with one slice distance"
    if not _can_be_filled(along):
        return DataError("DCM-SPACING", what, f"{fix}; the widest gap is too wide to be filled.")
    return DataError("DCM-SPACING", what, f'{fix}, or set nonuniform = "resample" in site.toml.')


def drift(stack: Stack) -> Numbers:
    """Return how far each slice is moved sideways against the first, (N, 2), mm along rows and columns."""
    return np.asarray((stack.positions - stack.positions[0]) @ stack.axes[:, :2], dtype=np.float64)


def _check_line(stack: Stack) -> DataError | None:
    along, sideways, pixel = stack.along_normal(), drift(stack), float(stack.pixels.min())
    height = along - along[0]
    line = height[:, np.newaxis] / height[-1] * sideways[-1]
    jump = float(np.linalg.norm(sideways - line, axis=1).max())
    if jump > max(PIXELS * pixel, DISTANCE_SHARE * float(np.median(np.diff(along))) + 0.01):
        what = f"slices are shifted against each other by up to {jump:.3g} mm in the image plane."
        raise DataError("DCM-SHIFT", what, "The patient or table moved between two acquisitions; use one acquisition.")
    if not is_tilted(stack):
        return None
    length = float(np.linalg.norm(sideways[-1]))
    angle = float(np.degrees(np.arctan2(length, height[-1])))
    what = f"gantry tilt of {angle:.1f} degrees: the volume is sheared by {length:.1f} mm over its length."
    fix = 'Set gantry-tilt = "resample" in site.toml to straighten it on import.'
    return DataError("DCM-GANTRY-TILT", what, fix)


def is_tilted(stack: Stack) -> bool:
    """Return whether the last slice is moved sideways against the first by more than half a pixel."""
    return bool(np.linalg.norm(drift(stack)[-1]) > PIXELS * stack.pixels.min())
