"""Reading RTSTRUCT: contours in millimetres, drawn into the pixels of the slices that they lie on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.classes import names_to_classes
from medfl.data.dicom.contours import Contour, Points, check_gaps, read_contours
from medfl.data.dicom.references import (
    check_label_series,
    get_frame_of_reference,
    roi_frames,
    unreadable_label_error,
    wrong_frame_error,
)
from medfl.data.dicom.slices import get_slice_geometry, paint_mask, slice_distance, slice_matrix, slice_normal
from medfl.data.findings import Finding
from medfl.data.library_output import silence_libraries
from medfl.data.volume import SliceGeometry, Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_MAX_SLICE_OFFSET = 0.5  # share of the slice distance that a contour may lie off a slice
_FLATNESS_TOLERANCE = 0.1  # share of the slice distance by which the points of a slice's contours may differ in height ...
_ROUNDING_MM = 0.05  # ... besides rounding of the coordinates
_CENTRE_TOLERANCE = 0.01  # pixels by which a point may miss the centre that it was meant for
_MAX_POLYGON_SIZE = 32  # corners and rows from which on a polygon is cut in two
_MAX_OUTSIDE_SHARE = 0.01  # share of the drawn area that may lie outside the volume


def read_rtstruct(
    path: Path, image: Volume, image_source: Source, study: Study, site: Site
) -> tuple[NDArray[np.uint8], list[Finding]]:
    """Read the contours of an RTSTRUCT as a mask on the grid of the series they were drawn on.

    A pixel is marked when its centre lies in a contour or on its line. Contours of one ROI on one slice are combined by
    exclusive or, so that a contour within another is a hole; a hole that is cut in by a keyhole comes out the same way.
    ROIs are matched to classes by ROIName (see `medfl.data.classes`); several of one class are joined.

    Parameters
    ----------
    path : Path
        The RTSTRUCT.
    image : Volume
        The series, as read.
    image_source : Source
        Its files.
    study, site
        Name the classes.

    Returns
    -------
    mask : ndarray
        (X, Y, Z), uint8.
    warnings : list of Finding
        ``LBL-OPEN`` for contours that enclose nothing, ``LBL-OUTSIDE`` for a little that lies outside the volume, ``LBL-GAPS``
        for a single slice that an ROI leaves out, ``LBL-FRAME`` for a made-up frame of reference.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-WRONG-SERIES``, ``LBL-PARTIAL-REF``, ``LBL-CLASSNAME``, ``LBL-OVERLAP``, ``LBL-PLANE`` for a contour
        that does not lie on a slice, ``LBL-OUTSIDE``, or ``LBL-GAPS`` for an ROI on every second or third slice only.
    """
    frame = get_frame_of_reference(check_label_series(path, image_source, site.data))
    with silence_libraries():
        try:
            dataset = pydicom.dcmread(path, force=site.data.allow_headerless)
            regions = {int(r.ROINumber): str(r.get("ROIName", "")) for r in dataset.StructureSetROISequence}
            contours, frames = list(read_contours(dataset)), roi_frames(dataset)
            named = {str(f.FrameOfReferenceUID) for f in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
        except Exception:
            raise unreadable_label_error() from None
    closed = [contour for contour in contours if len(contour.points) > 2]
    if any(contour.roi_number not in regions for contour in closed):
        raise unreadable_label_error()
    used = sorted({contour.roi_number for contour in closed})
    values = names_to_classes([regions[number] for number in used], study, site, "ROIs")
    classes = {number: value for number, value in zip(used, values, strict=True) if value}
    doubts = _check_frames([frames[number] for number in classes], named | set(frames.values()), frame)
    closed = [contour for contour in closed if contour.roi_number in classes]
    mask, warnings = _draw_mask(closed, classes, get_slice_geometry(image))
    warnings += doubts
    passed_over = sum(len(contour.points) < 3 for contour in contours)
    if passed_over:
        what = f"{passed_over} contour(s) are points or open lines, which enclose nothing; they are left out."
        warnings.append(Finding.warning("LBL-OPEN", what, "Close them if they were meant to be areas."))
    if image.acquired_geometry is None:
        return mask, warnings
    from medfl.data.dicom.resample_stack import resample_labels

    return np.asarray(resample_labels(mask, image.acquired_geometry, image), dtype=np.uint8), warnings


def _check_frames(used: Sequence[str], named: Set[str], frame: str) -> list[Finding]:
    """Refuse ROIs that were drawn in another frame of reference: an RTSTRUCT may hold those of a registered image, too.

    One that names a single frame throughout, and refers to the images of this series only, had it made up by its program.
    """
    wrong = sum(bool(own and frame and own != frame) for own in used)
    if not wrong:
        return []
    if len(named) > 1:
        raise wrong_frame_error(f"{wrong} of {len(used)} ROIs were")
    what = "the label names another frame of reference than its series, but refers to all the right images."
    return [Finding.warning("LBL-FRAME", what, "Its program probably made it up; look at some of the cases.")]


def _draw_mask(
    contours: Sequence[Contour], classes: Mapping[int, int], slices: SliceGeometry
) -> tuple[NDArray[np.uint8], list[Finding]]:
    mask = np.zeros(slices.shape, dtype=np.uint8)
    placed, beyond = _group_by_slice(contours, slices)
    gaps = check_gaps(placed)
    drawn_area = outside_area = 0.0
    for contour in beyond:
        area = _polygon_area(_to_pixels(contour.points, slices, 0))
        drawn_area, outside_area = drawn_area + area, outside_area + area
    for (number, k), own in placed.items():
        polygons = [_to_pixels(contour.points, slices, k) for contour in own]
        drawn_area += sum(map(_polygon_area, polygons))
        outside_area += sum(
            _polygon_area(corners) - _polygon_area(_clip_to_image(corners, slices.shape[:2])) for corners in polygons
        )
        layer = np.zeros(slices.shape[:2], dtype=np.uint8)
        for corners in polygons:
            layer ^= _fill_polygon(corners, slices.shape[:2])
        paint_mask(mask[:, :, k], layer * np.uint8(classes[number]))
    return mask, [*gaps, *_outside_warnings(outside_area, drawn_area)]


def _outside_warnings(outside: float, drawn: float) -> list[Finding]:
    share = outside / drawn if drawn else 0.0
    if share < 1e-6:
        return []
    problem = DataError(
        "LBL-OUTSIDE",
        f"{max(100 * share, 0.01):.2g} % of the area that was drawn lies outside the image.",
        "Check that the contours belong to this series, and that it is complete.",
    )
    if share > _MAX_OUTSIDE_SHARE:
        raise problem
    return [Finding.from_error(problem, level="warning")]


def _group_by_slice(
    contours: Sequence[Contour], slices: SliceGeometry
) -> tuple[dict[tuple[int, int], list[Contour]], list[Contour]]:
    """Return the contours of each ROI by slice, and those above and below the volume.

    Raises
    ------
    DataError
        ``LBL-PLANE``.
    """
    normal, step = slice_normal(slices), slice_distance(slices)
    heights = slices.positions @ normal
    flat = _FLATNESS_TOLERANCE * step + _ROUNDING_MM
    placed: dict[tuple[int, int], list[Contour]] = defaultdict(list)
    levels: dict[tuple[int, int], list[float]] = defaultdict(list)
    beyond, tilted, between = [], 0, 0
    for contour in contours:
        own = contour.points @ normal
        level = float(own.mean())
        k = int(np.abs(heights - level).argmin())
        if np.ptp(own) > flat:
            tilted += 1
        elif abs(level - heights[k]) <= _MAX_SLICE_OFFSET * step:
            placed[contour.roi_number, k].append(contour)
            levels[contour.roi_number, k].append(level)
        elif heights.min() < level < heights.max():
            between += 1
        else:
            beyond.append(contour)
    between += sum(len(own) for own in levels.values() if np.ptp(own) > flat)
    if tilted or between:
        what = f"{tilted + between} of {len(contours)} contours do not lie on a slice of the series"
        why = "they are tilted against the slices" if tilted else "they were drawn on other slices, or slices are missing"
        raise DataError("LBL-PLANE", f"{what}: {why}.", "Use the series that the contours were drawn on.")
    return placed, beyond


def _to_pixels(points: Points, slices: SliceGeometry, k: int) -> Points:
    """Return the points of a contour as (column, row) of a slice, (n, 2)."""
    matrix = slice_matrix(slices, k)
    found, *_ = np.linalg.lstsq(matrix[:, :2], (points - matrix[:, 2]).T, rcond=None)
    # programs trace masks through the centres of pixels and round the millimetres: on the line must stay on the line
    whole = np.round(found)
    return np.asarray(np.where(np.abs(found - whole) < _CENTRE_TOLERANCE, whole, found).T, dtype=np.float64)


def _fill_polygon(corners: Points, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return 1 where the centre of a pixel lies in a polygon or on its line."""
    from skimage.draw import polygon  # a second that a site without RTSTRUCT does not pay

    layer = np.zeros(shape, dtype=np.uint8)
    if (
        len(corners) > _MAX_POLYGON_SIZE and np.ptp(corners[:, 1]) > _MAX_POLYGON_SIZE
    ):  # scikit-image asks every pixel about every corner
        middle = np.floor(np.median(corners[:, 1])) + 0.5  # between two rows, so that no centre lies on the cut
        parts = [_clip_at_row(corners, middle, upper) for upper in (False, True)]
        if max(map(len, parts)) < len(corners):
            return _fill_polygon(parts[0], shape) | _fill_polygon(parts[1], shape)
    if len(corners) > 2:
        layer[polygon(corners[:, 0], corners[:, 1], shape)] = 1
    return layer


def _clip_at_row(corners: Points, row: float, upper: bool) -> Points:
    """Return the part of a polygon on one side of a row (Sutherland and Hodgman 1974)."""
    after = np.roll(corners, -1, axis=0)
    inside = (corners[:, 1] > row) == upper
    crossing = inside != np.roll(inside, -1)
    share = np.divide(row - corners[:, 1], after[:, 1] - corners[:, 1], out=np.zeros(len(corners)), where=crossing)
    cuts = corners + share[:, np.newaxis] * (after - corners)
    return np.asarray(np.stack([corners, cuts], axis=1)[np.stack([inside, crossing], axis=1)], dtype=np.float64)


def _clip_to_image(corners: Points, shape: tuple[int, int]) -> Points:
    """Return a contour with its points moved to the edge of the image where they lie beyond it.

    Exact for what sticks out over one side; what lies wholly beyond comes out with no area.
    """
    return np.clip(corners, -0.5, np.array(shape) - 0.5)


def _polygon_area(corners: Points) -> float:
    """Return the area of a polygon in pixels (the shoelace formula)."""
    x, y = corners[:, 0], corners[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
