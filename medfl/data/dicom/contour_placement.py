"""Slices of contours: by their position, which must be that of the image that they refer to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from medfl.data.dicom.contours import Contour
from medfl.data.dicom.image_slices import SlicesByImage, referenced_slices
from medfl.data.dicom.slices import ACROSS_TOLERANCE, slice_distance, slice_normal
from medfl.data.volume import SliceGeometry
from medfl.errors import DataError

_FLATNESS_TOLERANCE = 0.1  # largest difference in height between points of a contour, as a share of the slice spacing ...
_ROUNDING_MM = 0.05  # ... and in addition, for rounding of the coordinates
_POSITION_ROUNDING_MM = 1e-3  # of the mean of many coordinates
_OUTSIDE = 0.5  # slice spacings beyond the first or last slice from which on a contour is outside the volume

_REASONS = {
    "tilted": "they are tilted against the slices",
    "contradicted": "they lie more than a tenth of the slice spacing from every image that they refer to",
    "off": "they lie more than a tenth of the slice spacing from every slice: drawn on other slices, or slices are missing",
}


def group_by_slice(
    contours: Sequence[Contour], slices: SliceGeometry, located: SlicesByImage
) -> tuple[dict[tuple[int, int], list[Contour]], list[Contour]]:
    """Return the contours by ROI number and slice index, and those above and below the volume.

    A contour is on a slice when it is within a tenth of the slice spacing of it, and on one of those which it refers to, if it
    refers to any (ContourImageSequence, PS3.3 C.8.8.6): some programs list all the images of the series.

    Parameters
    ----------
    contours : sequence of Contour
        Contours with points.
    slices : SliceGeometry
        Slices of the series.
    located : mapping
        Slices of the images, of `medfl.data.dicom.image_slices.locate_images`.

    Raises
    ------
    DataError
        ``LBL-PLANE``.
    """
    normal, step = slice_normal(slices), slice_distance(slices)
    heights = slices.positions @ normal
    tolerance = ACROSS_TOLERANCE * step + _POSITION_ROUNDING_MM
    by_slice: dict[tuple[int, int], list[Contour]] = defaultdict(list)
    outside, faults = [], Counter[str]()
    for contour in contours:
        point_heights = contour.points @ normal
        distances = np.abs(heights - point_heights.mean())
        k, named = int(distances.argmin()), referenced_slices(contour.images, located)
        if np.ptp(point_heights) > _FLATNESS_TOLERANCE * step + _ROUNDING_MM:
            faults["tilted"] += 1
        elif named and min(distances[n] if n >= 0 else np.inf for n in named) > tolerance:
            faults["contradicted"] += 1
        elif distances[k] <= tolerance:
            by_slice[contour.roi_number, k].append(contour)
        elif distances[k] > _OUTSIDE * step and not heights.min() < point_heights.mean() < heights.max():
            outside.append(contour)
        else:
            faults["off"] += 1
    if faults:
        raise _plane_error(faults, len(contours))
    return by_slice, outside


def _plane_error(faults: Counter[str], count: int) -> DataError:
    why = "; ".join(f"{faults[fault]}: {reason}" for fault, reason in _REASONS.items() if faults[fault])
    what = f"{faults.total()} of {count} contours are not on a slice of the series ({why})."
    return DataError("LBL-PLANE", what, "Use the series that the contours were drawn on, or export them again.")
