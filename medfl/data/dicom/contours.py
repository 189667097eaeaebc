"""The contours of an RTSTRUCT as they are stored: closed ones, each once, and whether their ROIs leave slices out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.dicom.references import unreadable_label_error
from medfl.data.findings import Finding
from medfl.errors import DataError

_CLOSED_TYPES = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")  # PS3.3 C.8.8.6.3; the others enclose nothing
_SAME_POINT_MM = 1e-3  # coordinates nearer than this are one place: programs round them differently
_MIN_REGULAR_SLICES = 3  # marked slices from which on one distance between all of them is no chance

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour.

    Parameters
    ----------
    roi_number : int
        Number of the ROI.
    points : ndarray
        (n, 3), LPS mm, the first one not repeated at the end; none for a contour that encloses nothing.
    """

    roi_number: int
    points: Points


def read_contours(dataset: Dataset) -> Iterator[Contour]:
    """Yield the contours, those that enclose nothing without points; each copy of a contour once.

    A copy may begin at another point, run in the other direction or repeat its first point at the end: the exclusive or of a
    contour and its copy would be nothing.

    Parameters
    ----------
    dataset : Dataset
        The RTSTRUCT.

    Raises
    ------
    DataError
        ``LBL-READ``; damage shows as any other error of pydicom and numpy.
    """
    seen: set[tuple[int, bytes]] = set()
    for region in dataset.get("ROIContourSequence") or ():
        number = int(region.ReferencedROINumber)
        for item in region.get("ContourSequence") or ():
            points = np.array(item.get("ContourData") or [], dtype=np.float64).reshape(-1, 3)
            if not np.isfinite(points).all():
                raise unreadable_label_error()
            points = _drop_closing_points(points)
            if str(item.get("ContourGeometricType", "")).upper() not in _CLOSED_TYPES or len(points) < 3:
                yield Contour(number, points[:0])
                continue
            form = number, _canonical_bytes(points)
            if form not in seen:
                seen.add(form)
                yield Contour(number, points)


def _drop_closing_points(points: Points) -> Points:
    """Return the points without those at the end that repeat the first."""
    while len(points) > 1 and np.abs(points[-1] - points[0]).max() < _SAME_POINT_MM:
        points = points[:-1]
    return points


def _canonical_bytes(points: Points) -> bytes:
    """Return the same bytes for every way of writing one polygon down: beginning at its smallest point, in one direction."""
    places = np.round(points / _SAME_POINT_MM).astype(np.int64)
    places = places[(places != np.roll(places, 1, axis=0)).any(axis=1)]
    if not len(places):
        return b""
    smallest = places[np.lexsort(places.T)[0]]
    ways = (places, places[::-1])
    # a keyhole may pass its smallest point twice
    starts = ((way, int(start)) for way in ways for start in np.flatnonzero((way == smallest).all(axis=1)))
    return min(bytes(np.roll(way, -start, axis=0).tobytes()) for way, start in starts)


def check_gaps(placed: Iterable[tuple[int, int]]) -> list[Finding]:
    """Check that ROIs were drawn on every slice, and not on every second or third one, to be interpolated by a viewer.

    Parameters
    ----------
    placed : iterable of (int, int)
        Number of the ROI and index of the slice, for all that is drawn.

    Returns
    -------
    list of Finding
        A warning ``LBL-GAPS`` for ROIs that leave out a single slice: two things may lie there, or a slice was forgotten.

    Raises
    ------
    DataError
        ``LBL-GAPS`` when an ROI lies on slices at one distance of two or more.
    """
    slices: dict[int, set[int]] = {}
    for region, k in placed:
        slices.setdefault(region, set()).add(k)
    steps = [np.diff(sorted(own)) for own in slices.values()]
    combs = [int(step[0]) for step in steps if len(step) >= _MIN_REGULAR_SLICES - 1 and step[0] > 1 and (step == step[0]).all()]
    if combs:
        what = f"{len(combs)} ROI(s) are drawn on one slice in {combs[0]} only, and nothing says what lies between."
        raise DataError("LBL-GAPS", what, "Export contours on every slice.")
    skipping = sum(bool((step == 2).any()) for step in steps)
    if skipping:
        what = f"{skipping} ROI(s) leave out a single slice between two that they mark."
        return [Finding.warning("LBL-GAPS", what, "If a slice was forgotten, draw it and export the contours again.")]
    return []
