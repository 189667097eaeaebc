"""Reader of the contours of an RTSTRUCT, and check for slices that an ROI omits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.dicom.image_slices import ImageReference, read_image_references
from medfl.data.dicom.references import unreadable_label_error
from medfl.data.findings import Finding
from medfl.errors import DataError

_CLOSED, _XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"  # PS3.3 C.8.8.6.3; other types enclose nothing
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
    exclusive : bool
        Whether its type is CLOSEDPLANAR_XOR.
    images : tuple of ImageReference
        Images that it was drawn on.
    """

    roi_number: int
    points: Points
    exclusive: bool = False
    images: tuple[ImageReference, ...] = ()


def read_contours(dataset: Dataset) -> Iterator[Contour]:
    """Yield each contour, without points if it is a point or an open line.

    Parameters
    ----------
    dataset : Dataset
        The RTSTRUCT.

    Raises
    ------
    DataError
        ``LBL-READ``, also for coordinates that are fewer or more than the contour says; damaged files also cause other errors
        of pydicom and numpy.
    """
    drawn = [roi for roi in dataset.get("ROIContourSequence") or () if roi.get("ContourSequence")]
    _refuse_repeated(int(roi.ReferencedROINumber) for roi in drawn)
    for roi in drawn:
        for item in roi.ContourSequence:
            kind = str(item.get("ContourGeometricType", "")).strip().upper()
            points = _drop_closing_points(_read_points(item))
            if kind not in (_CLOSED, _XOR):
                points = points[:0]
            images = tuple(read_image_references(item.get("ContourImageSequence") or ()))
            yield Contour(int(roi.ReferencedROINumber), points, kind == _XOR, images)


def read_roi_names(dataset: Dataset) -> dict[int, str]:
    """Return the name of each ROI by its number.

    Raises
    ------
    DataError
        ``LBL-READ`` when two ROIs have one number.
    """
    rois = dataset.StructureSetROISequence
    _refuse_repeated(int(roi.ROINumber) for roi in rois)
    return {int(roi.ROINumber): str(roi.get("ROIName", "")) for roi in rois}


def _refuse_repeated(numbers: Iterable[int]) -> None:
    n_repeated = sum(count > 1 for count in Counter(numbers).values())
    if n_repeated:
        what = f"{n_repeated} ROI number(s) of the label occur twice, so it is unknown which contours belong to which name."
        raise DataError("LBL-READ", what, "Export the RTSTRUCT again, with a number of its own for each ROI.")


def _read_points(item: Dataset) -> Points:
    values = np.array(item.get("ContourData") or [], dtype=np.float64).reshape(-1)
    stated = item.get("NumberOfContourPoints")
    if len(values) % 3 or (stated is not None and 3 * int(stated) != len(values)):
        what = f"a contour of the label has {len(values)} coordinates"
        if stated is not None:
            what += f" and says that it has {int(stated)} points, of three coordinates each"
        raise DataError("LBL-READ", f"{what}.", "It was cut or changed; export the RTSTRUCT again.")
    if not np.isfinite(values).all():
        raise unreadable_label_error()
    return values.reshape(-1, 3)


def _drop_closing_points(points: Points) -> Points:
    """Return the points without repetitions of the first at the end."""
    while len(points) > 1 and np.abs(points[-1] - points[0]).max() < _SAME_POINT_MM:
        points = points[:-1]
    return points


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
