"""Reader of the contours of an RTSTRUCT, each once, and check for slices that an ROI omits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.dicom.references import unreadable_label_error
from medfl.data.findings import Finding
from medfl.errors import DataError

_CLOSED_TYPES = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")  # PS3.3 C.8.8.6.3; other types enclose nothing
_SAME_POINT_MM = 1e-3  # nearer points are the same: programs round coordinates differently
_MIN_REGULAR_SLICES = 3  # fewer slices may be equally spaced by chance

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour of an ROI.

    Parameters
    ----------
    roi_number : int
        Number of the ROI.
    points : ndarray
        (n, 3), LPS mm, without the first point at the end; empty for a contour that encloses nothing.
    """

    roi_number: int
    points: Points


def read_contours(dataset: Dataset) -> Iterator[Contour]:
    """Yield each contour once, without points if it encloses nothing.

    Copies are dropped, as the exclusive or of a contour and its copy would be empty. A copy may begin at another point, run in
    the other direction or repeat its first point at the end.

    Parameters
    ----------
    dataset : Dataset
        The RTSTRUCT.

    Raises
    ------
    DataError
        ``LBL-READ``; damaged files also cause other errors of pydicom and numpy.
    """
    seen: set[tuple[int, bytes]] = set()
    for roi in dataset.get("ROIContourSequence") or ():
        number = int(roi.ReferencedROINumber)
        for item in roi.get("ContourSequence") or ():
            points = np.array(item.get("ContourData") or [], dtype=np.float64).reshape(-1, 3)
            if not np.isfinite(points).all():
                raise unreadable_label_error()
            points = _drop_closing_points(points)
            if str(item.get("ContourGeometricType", "")).upper() not in _CLOSED_TYPES or len(points) < 3:
                yield Contour(number, points[:0])
                continue
            canonical = number, _canonical_bytes(points)
            if canonical not in seen:
                seen.add(canonical)
                yield Contour(number, points)


def _drop_closing_points(points: Points) -> Points:
    """Return the points without repetitions of the first at the end."""
    while len(points) > 1 and np.abs(points[-1] - points[0]).max() < _SAME_POINT_MM:
        points = points[:-1]
    return points


def _canonical_bytes(points: Points) -> bytes:
    """Return the same bytes for all representations of a polygon, whatever its first point and direction."""
    rounded = np.round(points / _SAME_POINT_MM).astype(np.int64)
    rounded = rounded[(rounded != np.roll(rounded, 1, axis=0)).any(axis=1)]
    if not len(rounded):
        return b""
    smallest = rounded[np.lexsort(rounded.T)[0]]
    directions = (rounded, rounded[::-1])
    # a keyhole may pass through its smallest point twice
    starts = (
        (direction, int(start)) for direction in directions for start in np.flatnonzero((direction == smallest).all(axis=1))
    )
    return min(bytes(np.roll(direction, -start, axis=0).tobytes()) for direction, start in starts)


def check_gaps(placed: Iterable[tuple[int, int]]) -> list[Finding]:
    """Check that ROIs were drawn on every slice, not on every second or third one for a viewer to interpolate.

    Parameters
    ----------
    placed : iterable of (int, int)
        ROI number and slice index of everything drawn.

    Returns
    -------
    list of Finding
        A warning ``LBL-GAPS`` for ROIs that omit a single slice: there may be two separate parts, or a forgotten slice.

    Raises
    ------
    DataError
        ``LBL-GAPS`` when an ROI is drawn on every second, third, ... slice.
    """
    slices: dict[int, set[int]] = {}
    for roi, k in placed:
        slices.setdefault(roi, set()).add(k)
    steps = [np.diff(sorted(indices)) for indices in slices.values()]
    intervals = [
        int(step[0]) for step in steps if len(step) >= _MIN_REGULAR_SLICES - 1 and step[0] > 1 and (step == step[0]).all()
    ]
    if intervals:
        what = f"{len(intervals)} ROI(s) are drawn on one slice in {intervals[0]} only, and what is in between is unknown."
        raise DataError("LBL-GAPS", what, "Export contours on every slice.")
    n_skipping = sum(bool((step == 2).any()) for step in steps)
    if n_skipping:
        what = f"{n_skipping} ROI(s) omit a single slice between two on which they are drawn."
        return [Finding.warning("LBL-GAPS", what, "If a slice was forgotten, draw it and export the contours again.")]
    return []
