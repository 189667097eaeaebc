"""Reader of RTSTRUCT: contours in mm, filled in the pixels of the slices at their position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.classes import names_to_classes
from medfl.data.dicom.contours import Contour, Points, check_gaps, read_contours
from medfl.data.dicom.label_dataset import get_frame_of_reference, read_label_dataset
from medfl.data.dicom.references import roi_frames, unreadable_label_error, wrong_frame_error
from medfl.data.dicom.slices import get_slice_geometry, paint_mask, slice_distance, slice_matrix, slice_normal
from medfl.data.findings import Finding
from medfl.data.library_output import silence_libraries
from medfl.data.volume import SliceGeometry, Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_MAX_SLICE_OFFSET = 0.5  # largest distance of a contour from its slice, as a share of the slice spacing
_FLATNESS_TOLERANCE = 0.1  # largest difference in height between points of a slice's contours, as a share of the spacing ...
_ROUNDING_MM = 0.05  # ... and in addition, for rounding of the coordinates
_CENTRE_TOLERANCE = 0.01  # pixels within which a point is taken to be at the centre of a pixel
_MAX_POLYGON_SIZE = 32  # a polygon with more corners and rows is cut in two
_MAX_OUTSIDE_SHARE = 0.01  # largest share of the drawn area outside the volume


def read_rtstruct(
    path: Path, image: Volume, image_source: Source, study: Study, site: Site
) -> tuple[NDArray[np.uint8], list[Finding]]:
    """Read the contours of an RTSTRUCT as a mask on the grid of the series they were drawn on.

    A pixel is set when its centre is inside a contour or on its line. Contours of one ROI on one slice are combined by
    exclusive or, so that a contour within another is a hole; a hole drawn as a keyhole gives the same result.
    ROIs are matched to classes by ROIName (see `medfl.data.classes`); several ROIs of one class are joined.

    Parameters
    ----------
    path : Path
        The RTSTRUCT.
    image : Volume
        The series, as read.
    image_source : Source
        Files of the series.
    study, site
        They name the classes.

    Returns
    -------
    mask : ndarray
        (X, Y, Z), uint8.
    warnings : list of Finding
        ``LBL-OPEN`` for contours that enclose nothing, ``LBL-OUTSIDE`` for a small area outside the volume, ``LBL-GAPS``
        for a single slice that an ROI omits, ``LBL-FRAME`` for a made-up frame of reference.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-WRONG-SERIES``, ``LBL-PARTIAL-REF``, ``LBL-CLASSNAME``, ``LBL-OVERLAP``, ``LBL-PLANE`` for a contour
        that is not on a slice, ``LBL-OUTSIDE``, or ``LBL-GAPS`` for an ROI on every second or third slice only.
    """
    dataset, headers = read_label_dataset(path, image_source, site.data)
    frame_of_reference = get_frame_of_reference(headers)
    with silence_libraries():
        try:
            names = {int(r.ROINumber): str(r.get("ROIName", "")) for r in dataset.StructureSetROISequence}
            contours, frames = list(read_contours(dataset)), roi_frames(dataset)
            listed_frames = {str(f.FrameOfReferenceUID) for f in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
        except Exception:
            raise unreadable_label_error() from None
    closed = [contour for contour in contours if len(contour.points) > 2]
    if any(contour.roi_number not in names for contour in closed):
        raise unreadable_label_error()
    used = sorted({contour.roi_number for contour in closed})
    values = names_to_classes([names[number] for number in used], study, site, "ROIs")
    classes = {number: value for number, value in zip(used, values, strict=True) if value}
    frame_warnings = _check_frames(
        [frames[number] for number in classes], listed_frames | set(frames.values()), frame_of_reference
    )
    closed = [contour for contour in closed if contour.roi_number in classes]
    mask, warnings = _draw_mask(closed, classes, get_slice_geometry(image))
    warnings += frame_warnings
    n_open = sum(len(contour.points) < 3 for contour in contours)
    if n_open:
        what = f"{n_open} contour(s) are points or open lines, which enclose nothing; they are left out."
        warnings.append(Finding.warning("LBL-OPEN", what, "Close them if they were meant to be areas."))
    if image.acquired_geometry is None:
        return mask, warnings
    from medfl.data.dicom.resample_stack import resample_labels

    return np.asarray(resample_labels(mask, image.acquired_geometry, image), dtype=np.uint8), warnings


def _check_frames(used: Sequence[str], listed_frames: Set[str], frame_of_reference: str) -> list[Finding]:
    """Refuse ROIs of another frame of reference, as an RTSTRUCT may also contain those of a registered image.

    If it names a single frame throughout, and references the images of this series only, its program made the frame up.
    """
    n_other = sum(bool(uid and frame_of_reference and uid != frame_of_reference) for uid in used)
    if not n_other:
        return []
    if len(listed_frames) > 1:
        raise wrong_frame_error(f"{n_other} of {len(used)} ROIs were")
    what = "the label names another frame of reference than its series, but references all the right images."
    return [Finding.warning("LBL-FRAME", what, "The program that wrote it probably made it up; look at some of the cases.")]


def _draw_mask(
    contours: Sequence[Contour], classes: Mapping[int, int], slices: SliceGeometry
) -> tuple[NDArray[np.uint8], list[Finding]]:
    mask = np.zeros(slices.shape, dtype=np.uint8)
    contours_by_slice, outside = _group_by_slice(contours, slices)
    gaps = check_gaps(contours_by_slice)
    drawn_area = outside_area = 0.0
    for contour in outside:
        area = _polygon_area(_to_pixels(contour.points, slices, 0))
        drawn_area, outside_area = drawn_area + area, outside_area + area
    for (number, k), slice_contours in contours_by_slice.items():
        polygons = [_to_pixels(contour.points, slices, k) for contour in slice_contours]
        drawn_area += sum(map(_polygon_area, polygons))
        outside_area += sum(
            _polygon_area(corners) - _polygon_area(_clip_to_image(corners, slices.shape[:2])) for corners in polygons
        )
        slice_mask = np.zeros(slices.shape[:2], dtype=np.uint8)
        for corners in polygons:
            slice_mask ^= _fill_polygon(corners, slices.shape[:2])
        paint_mask(mask[:, :, k], slice_mask * np.uint8(classes[number]))
    return mask, [*gaps, *_outside_warnings(outside_area, drawn_area)]


def _outside_warnings(outside: float, drawn: float) -> list[Finding]:
    share = outside / drawn if drawn else 0.0
    if share < 1e-6:
        return []
    problem = DataError(
        "LBL-OUTSIDE",
        f"{max(100 * share, 0.01):.2g} % of the drawn area is outside the image.",
        "Check that the contours belong to this series, and that it is complete.",
    )
    if share > _MAX_OUTSIDE_SHARE:
        raise problem
    return [Finding.from_error(problem, level="warning")]


def _group_by_slice(
    contours: Sequence[Contour], slices: SliceGeometry
) -> tuple[dict[tuple[int, int], list[Contour]], list[Contour]]:
    """Return the contours by ROI number and slice index, and those above and below the volume.

    Raises
    ------
    DataError
        ``LBL-PLANE``.
    """
    normal, step = slice_normal(slices), slice_distance(slices)
    heights = slices.positions @ normal
    tolerance = _FLATNESS_TOLERANCE * step + _ROUNDING_MM
    contours_by_slice: dict[tuple[int, int], list[Contour]] = defaultdict(list)
    heights_by_slice: dict[tuple[int, int], list[float]] = defaultdict(list)
    outside, n_tilted, n_between = [], 0, 0
    for contour in contours:
        point_heights = contour.points @ normal
        level = float(point_heights.mean())
        k = int(np.abs(heights - level).argmin())
        if np.ptp(point_heights) > tolerance:
            n_tilted += 1
        elif abs(level - heights[k]) <= _MAX_SLICE_OFFSET * step:
            contours_by_slice[contour.roi_number, k].append(contour)
            heights_by_slice[contour.roi_number, k].append(level)
        elif heights.min() < level < heights.max():
            n_between += 1
        else:
            outside.append(contour)
    n_between += sum(len(levels) for levels in heights_by_slice.values() if np.ptp(levels) > tolerance)
    if n_tilted or n_between:
        what = f"{n_tilted + n_between} of {len(contours)} contours are not on a slice of the series"
        why = "they are tilted against the slices" if n_tilted else "they were drawn on other slices, or slices are missing"
        raise DataError("LBL-PLANE", f"{what}: {why}.", "Use the series that the contours were drawn on.")
    return contours_by_slice, outside


def _to_pixels(points: Points, slices: SliceGeometry, k: int) -> Points:
    """Return the points of a contour in pixels of a slice, (n, 2): column, row."""
    matrix = slice_matrix(slices, k)
    pixels, *_ = np.linalg.lstsq(matrix[:, :2], (points - matrix[:, 2]).T, rcond=None)
    # programs trace masks through the centres of pixels and round the mm: points on a centre must stay there
    rounded = np.round(pixels)
    return np.asarray(np.where(np.abs(pixels - rounded) < _CENTRE_TOLERANCE, rounded, pixels).T, dtype=np.float64)


def _fill_polygon(corners: Points, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return 1 where the centre of a pixel is inside a polygon or on its line."""
    from skimage.draw import polygon  # a second that sites without RTSTRUCT need not spend

    slice_mask = np.zeros(shape, dtype=np.uint8)
    # scikit-image tests every pixel against every corner
    if len(corners) > _MAX_POLYGON_SIZE and np.ptp(corners[:, 1]) > _MAX_POLYGON_SIZE:
        cut = np.floor(np.median(corners[:, 1])) + 0.5  # between two rows, so that no centre is on the cut
        parts = [_clip_at_row(corners, cut, upper) for upper in (False, True)]
        if max(map(len, parts)) < len(corners):
            return _fill_polygon(parts[0], shape) | _fill_polygon(parts[1], shape)
    if len(corners) > 2:
        slice_mask[polygon(corners[:, 0], corners[:, 1], shape)] = 1
    return slice_mask


def _clip_at_row(corners: Points, row: float, upper: bool) -> Points:
    """Return the part of a polygon on one side of a row (Sutherland and Hodgman 1974)."""
    following = np.roll(corners, -1, axis=0)
    inside = (corners[:, 1] > row) == upper
    crossing = inside != np.roll(inside, -1)
    share = np.divide(row - corners[:, 1], following[:, 1] - corners[:, 1], out=np.zeros(len(corners)), where=crossing)
    cuts = corners + share[:, np.newaxis] * (following - corners)
    return np.asarray(np.stack([corners, cuts], axis=1)[np.stack([inside, crossing], axis=1)], dtype=np.float64)


def _clip_to_image(corners: Points, shape: tuple[int, int]) -> Points:
    """Return a contour with points beyond the edge of the image moved onto the edge.

    Exact for a contour that crosses one side of the image; one entirely outside gets no area.
    """
    return np.clip(corners, -0.5, np.array(shape) - 0.5)


def _polygon_area(corners: Points) -> float:
    """Return the area of a polygon in pixels, by the shoelace formula."""
    x, y = corners[:, 0], corners[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
