"""Stack of slices, with checks for one orientation, uniform slice spacing, no gap, no shift and no tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

FloatArray = NDArray[np.float64]

SAME_POSITION_MM = 0.01  # slices closer than this along the normal have the same position
ORIENTATION_TOLERANCE = 1e-3  # deviation of an orientation from perpendicular unit vectors, and from that of other slices
PIXEL_SPACING_TOLERANCE = 1e-3  # relative difference of PixelSpacing within a series
SLICE_DISTANCE_TOLERANCE = 0.05  # relative deviation of a slice spacing from the median
MAX_OFFSET_PIXELS = 0.5  # deviation of slices from a straight line
GAP_TOLERANCE = 0.1  # deviation of a gap of missing slices from a multiple of the slice spacing, in slice spacings
MAX_MISSING_SHARE = 0.3  # when more of the gaps are wider, the series was acquired that way and nothing is missing
MAX_FILLED_GAP = 3.0  # a gap of more slice spacings than this is not filled by interpolation
_EXPORT_AGAIN = "Export the series again from the PACS."


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Positions of N slices, in DICOM's patient coordinates (LPS, mm; PS3.3 C.7.6.2).

    Parameters
    ----------
    positions : ndarray
        ImagePositionPatient, (N, 3).
    orientations : ndarray
        ImageOrientationPatient, (N, 6).
    pixel_spacings : ndarray
        PixelSpacing (between rows, between columns), (N, 2).
    """

    positions: FloatArray
    orientations: FloatArray
    pixel_spacings: FloatArray

    def __post_init__(self) -> None:
        _check_orientation(self)

    @property
    def axes(self) -> FloatArray:
        """Unit vectors along a row, along a column and across the slices, as the columns of a (3, 3) matrix."""
        row, normal = self.orientations[0, :3], np.cross(self.orientations[0, :3], self.orientations[0, 3:])
        row, normal = row / np.linalg.norm(row), normal / np.linalg.norm(normal)
        return np.stack([row, np.cross(normal, row), normal], axis=1)

    @property
    def pixel_spacing(self) -> tuple[float, float]:
        """Millimetres between rows and between columns."""
        rows, columns = self.pixel_spacings[0]
        return float(rows), float(columns)

    def positions_along_normal(self) -> FloatArray:
        """Return the position of each slice along the normal in mm, the only value by which slices are ordered."""
        return np.asarray(self.positions @ self.axes[:, 2], dtype=np.float64)

    def reorder(self, order: NDArray[np.intp]) -> SliceStack:
        """Return the slices in another order."""
        return SliceStack(self.positions[order], self.orientations[order], self.pixel_spacings[order])


def _check_orientation(stack: SliceStack) -> None:
    rows, columns = stack.orientations[:, :3], stack.orientations[:, 3:]
    if not all(np.isfinite(part).all() for part in (stack.positions, stack.orientations, stack.pixel_spacings)):
        raise DataError("DCM-NONFINITE", "a position, orientation or pixel spacing is not a number.", _EXPORT_AGAIN)
    lengths = np.concatenate([np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1)])
    if np.abs(lengths - 1).max() > ORIENTATION_TOLERANCE or np.abs((rows * columns).sum(axis=1)).max() > ORIENTATION_TOLERANCE:
        what = "ImageOrientationPatient is not a pair of perpendicular unit vectors."
        raise DataError("DCM-IOP", what, "The header was damaged by a conversion; export the original.")
    if np.abs(stack.orientations - stack.orientations[0]).max() > ORIENTATION_TOLERANCE:
        count = len(np.unique(np.round(stack.orientations, 2), axis=0))
        what = f"{max(count, 2)} different slice orientations in one series (localizer or multi-plane series)."
        fix = "Select the stack in column 'select' of the index with orientation=axial, coronal or sagittal, "
        raise DataError("DCM-ORIENT", what, f"{fix}or export the stacks as separate series.")
    if (
        stack.pixel_spacings.min() <= 0
        or (np.abs(stack.pixel_spacings - stack.pixel_spacings[0]) / stack.pixel_spacings[0]).max() > PIXEL_SPACING_TOLERANCE
    ):
        low, high = stack.pixel_spacings.min(), stack.pixel_spacings.max()
        what = f"PixelSpacing differs between images or is not positive ({low:.4g} to {high:.4g} mm)."
        raise DataError("DCM-PIXELSPACING", what, "The series holds several reconstructions; export the one you want.")


def check_stack(stack: SliceStack, min_slices: int) -> list[DataError]:
    """Check slices that are sorted along their normal and all have different positions.

    Parameters
    ----------
    stack : SliceStack
        The slices.
    min_slices : int
        Fewer slices do not make a volume.

    Returns
    -------
    list of DataError
        Errors that resampling can correct, in this order: ``DCM-SPACING``, ``DCM-GANTRY-TILT``.

    Raises
    ------
    DataError
        Errors that nothing can correct: ``DCM-FEW-SLICES``, ``DCM-MISSING-SLICES``, ``DCM-SHIFT``.
    """
    count = len(stack.positions)
    if count < min_slices:
        what = f"only {count} slice(s); at least {min_slices} are needed for a 3-D volume."
        raise DataError("DCM-FEW-SLICES", what, "Check that the export is complete; scouts and single images are not volumes.")
    if count == 1:
        return []
    along = stack.positions_along_normal()
    spacing_error = None if is_uniform(along, min(stack.pixel_spacing)) else _spacing_error(along)
    if spacing_error is not None and not (spacing_error.code == "DCM-SPACING" and _can_interpolate(along)):
        raise spacing_error
    return [error for error in (spacing_error, _alignment_error(stack)) if error is not None]


def is_uniform(along: FloatArray, pixel_spacing: float) -> bool:
    """Return whether slices are uniformly spaced, each one and in total.

    Parameters
    ----------
    along : ndarray
        Their ascending positions along the normal, mm.
    pixel_spacing : float
        Pixel spacing, mm.
    """
    distances = np.diff(along)
    median = float(np.median(distances))
    grid = np.linspace(along[0], along[-1], len(along))  # many small deviations add up
    deviation = float(np.abs(along - grid).max())
    return bool(
        np.abs(distances / median - 1).max() <= SLICE_DISTANCE_TOLERANCE
        and deviation <= MAX_OFFSET_PIXELS * min(pixel_spacing, median)
    )


def _can_interpolate(along: FloatArray) -> bool:
    distances = np.diff(along)
    return bool(distances.max() <= MAX_FILLED_GAP * np.median(distances))


def _spacing_error(along: FloatArray) -> DataError:
    distances = np.diff(along)
    median = float(np.median(distances))
    multiples = distances / median
    rounded = np.round(multiples)
    gaps = np.flatnonzero(rounded > 1)
    regular = bool((np.abs(multiples - rounded) < GAP_TOLERANCE).all() and (rounded >= 1).all())
    if regular and 0 < len(gaps) < MAX_MISSING_SHARE * len(distances):
        n_lost = (rounded[gaps] - 1).astype(int)
        gap_list = "; ".join(
            f"{n} between {along[k]:.2f} and {along[k + 1]:.2f} mm" for n, k in zip(n_lost[:3], gaps[:3], strict=True)
        )
        present, missing = len(along), int(n_lost.sum())
        what = f"{missing} slice(s) missing: {gap_list}"
        what += f" (expected every {median:.3g} mm, {present} of {present + missing} present)."
        fix = "Fetch the series again from the PACS (an interrupted transfer is the usual cause)."
        return DataError("DCM-MISSING-SLICES", what, fix)
    what = f"slice spacing is not uniform: {distances.min():.3g} to {distances.max():.3g} mm (median {median:.3g})."
    fix = "Use a series reconstructed with uniform slice spacing"
    if not _can_interpolate(along):
        return DataError("DCM-SPACING", what, f"{fix}; the widest gap is too wide to be filled.")
    return DataError("DCM-SPACING", what, f'{fix}, or set nonuniform = "resample" in site.toml.')


def in_plane_offsets(stack: SliceStack) -> FloatArray:
    """Return the shift of each slice within the plane against the first, (N, 2), mm along rows and columns."""
    return np.asarray((stack.positions - stack.positions[0]) @ stack.axes[:, :2], dtype=np.float64)


def _alignment_error(stack: SliceStack) -> DataError | None:
    along, offsets, pixel_spacing = stack.positions_along_normal(), in_plane_offsets(stack), float(stack.pixel_spacings.min())
    height = along - along[0]
    straight_line = height[:, np.newaxis] / height[-1] * offsets[-1]
    deviation = float(np.linalg.norm(offsets - straight_line, axis=1).max())
    if deviation > max(MAX_OFFSET_PIXELS * pixel_spacing, SLICE_DISTANCE_TOLERANCE * float(np.median(np.diff(along))) + 0.01):
        what = f"slices are shifted against each other by up to {deviation:.3g} mm in the image plane."
        raise DataError(
            "DCM-SHIFT", what, "The patient or table moved between two acquisitions: use the slices of one acquisition."
        )
    if not is_tilted(stack):
        return None
    length = float(np.linalg.norm(offsets[-1]))
    angle = float(np.degrees(np.arctan2(length, height[-1])))
    what = f"gantry tilt of {angle:.1f} degrees: the volume is sheared by {length:.1f} mm over its length."
    fix = 'Set gantry-tilt = "resample" in site.toml to resample the volume on import.'
    return DataError("DCM-GANTRY-TILT", what, fix)


def is_tilted(stack: SliceStack) -> bool:
    """Return whether the last slice is shifted against the first by more than half a pixel."""
    return bool(np.linalg.norm(in_plane_offsets(stack)[-1]) > MAX_OFFSET_PIXELS * stack.pixel_spacings.min())
