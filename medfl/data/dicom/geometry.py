"""Whether slices lie in the patient as a regular stack: one orientation, one distance, no gap, no shift, no tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

Numbers = NDArray[np.float64]

FEW_SLICES = 4  # fewer are scouts or incomplete exports, not volumes
SAME_PLACE_MM = 0.01  # slices closer than this along the normal lie at one place
UNIT = 1e-3  # how far an orientation may be from perpendicular unit vectors, and from that of the other slices
PIXEL_SHARE = 1e-3  # relative difference of PixelSpacing within a series
DISTANCE_SHARE = 0.05  # relative deviation of a slice distance from the median
PIXELS = 0.5  # slices may be off the straight line by this many pixels
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
    def normal(self) -> Numbers:
        """Unit vector across the slices."""
        normal = np.cross(self.orientations[0, :3], self.orientations[0, 3:])
        return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)

    def along_normal(self) -> Numbers:
        """Place of each slice along the normal in millimetres: the only thing that slices are ever ordered by."""
        return np.asarray(self.positions @ self.normal, dtype=np.float64)

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
        raise DataError("DCM-ORIENT", what, "Export the stacks as separate series.")
    if stack.pixels.min() <= 0 or (np.abs(stack.pixels - stack.pixels[0]) / stack.pixels[0]).max() > PIXEL_SHARE:
        what = (
            f"PixelSpacing differs between images or is not positive ({stack.pixels.min():.4g} to {stack.pixels.max():.4g} mm)."
        )
        raise DataError("DCM-PIXELSPACING", what, "The series holds several reconstructions; export the one you want.")


def check_stack(stack: Stack, min_slices: int = FEW_SLICES) -> None:
    """Check slices that are sorted along their normal and all lie at different places.

    Raises
    ------
    DataError
        ``DCM-FEW-SLICES``, ``DCM-MISSING-SLICES``, ``DCM-SPACING``, ``DCM-SHIFT`` or ``DCM-GANTRY-TILT``.
    """
    count = len(stack.positions)
    if count < min_slices:
        what = f"only {count} slice(s); at least {min_slices} are needed for a 3-D volume."
        raise DataError("DCM-FEW-SLICES", what, "Check that the export is complete; scouts and single images are not volumes.")
    if count > 1:
        _check_distances(stack)
        _check_line(stack)


def _check_distances(stack: Stack) -> None:
    distances = np.diff(stack.along_normal())
    median = float(np.median(distances))
    multiples = distances / median
    if np.abs(multiples - 1).max() <= DISTANCE_SHARE:
        return
    whole = np.round(multiples)
    gaps = whole > 1
    if (np.abs(multiples - whole) < 0.1).all() and (whole >= 1).all() and gaps.mean() < 0.3:
        missing = int((whole[gaps] - 1).sum())
        present = len(stack.positions)
        what = f"{missing} slice(s) missing (expected every {median:.3g} mm, {present} of {present + missing} present)."
        raise DataError(
            "DCM-MISSING-SLICES", what, "Fetch the series again from the PACS; a transfer was probably interrupted."
        )
    what = f"slice distance is not uniform: {distances.min():.3g} to {distances.max():.3g} mm (median {median:.3g})."
    raise DataError("DCM-SPACING", what, "Use a series reconstructed with one slice distance.")


def _check_line(stack: Stack) -> None:
    count, normal, pixel = len(stack.positions), stack.normal, float(stack.pixels.min())
    step = (stack.positions[-1] - stack.positions[0]) / (count - 1)
    straight = stack.positions[0] + np.arange(count)[:, np.newaxis] * step
    jump = float(np.linalg.norm(stack.positions - straight, axis=1).max())
    if jump > max(PIXELS * pixel, DISTANCE_SHARE * abs(float(step @ normal)) + 0.01):
        what = f"slices are shifted against each other by up to {jump:.3g} mm."
        raise DataError("DCM-SHIFT", what, "Patient or table moved between two acquisitions; use one acquisition.")
    sideways = float(np.linalg.norm(step - (step @ normal) * normal))
    if sideways * (count - 1) > PIXELS * pixel:
        angle = float(np.degrees(np.arctan2(sideways, abs(float(step @ normal)))))
        what = f"gantry tilt of {angle:.1f} degrees: the volume is sheared by {sideways * (count - 1):.1f} mm over its length."
        raise DataError("DCM-GANTRY-TILT", what, "Straighten the series on the scanner or with dcm2niix, and use that.")
