"""Reader of RTSTRUCT: contours in mm, filled in the pixels of the slices at their position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.classes import names_to_classes
from medfl.data.dicom.contour_loops import CENTRE_TOLERANCE
from medfl.data.dicom.contour_nesting import combine
from medfl.data.dicom.contour_outlines import draw_outline
from medfl.data.dicom.contour_placement import group_by_slice
from medfl.data.dicom.contours import Contour, Points, check_gaps, read_contours, read_roi_names
from medfl.data.dicom.image_slices import SlicesByImage, locate_images
from medfl.data.dicom.label_dataset import get_frame_of_reference, read_label_dataset
from medfl.data.dicom.references import roi_frames, unreadable_label_error, wrong_frame_error
from medfl.data.dicom.slices import get_slice_geometry, paint_mask, slice_matrix
from medfl.data.findings import Finding
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.data.volume import SliceGeometry, Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_MAX_DOUBTFUL_SHARE = 0.01  # largest share of the drawn area that may be outside the volume, enclosed twice, or in doubt
_MAX_IMAGE_SIZES = 1000  # between a contour and the image, beyond which a point is an error


def read_rtstruct(
    path: Path, image: Volume, image_source: Source, study: Study, site: Site
) -> tuple[NDArray[np.uint8], list[Finding]]:
    """Read the contours of an RTSTRUCT as a mask on the grid of the series they were drawn on.

    A pixel is set when its centre is inside a contour or on its line; what a contour runs along there and back is a line of
    pixels. Of contours of one ROI on one slice, one inside another is a hole (see `medfl.data.dicom.contour_nesting`); a hole
    drawn as a keyhole gives the same result. A contour must lie on the slice that it refers to. ROIs are matched to classes
    by ROIName (see `medfl.data.classes`); several ROIs of one class are joined.

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
        ``LBL-OPEN`` for points and open lines, ``LBL-SPECK`` for contours around no pixel, ``LBL-OUTSIDE`` and
        ``LBL-CROSSING`` for a small area outside the volume or enclosed twice, ``LBL-CONTOURS`` for small contours that are
        nearly inside another, ``LBL-GAPS`` for a single slice that an ROI
        omits, ``LBL-FRAME`` for a made-up frame of reference, ``LBL-SAME-NAME`` for ROIs that have one name.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-WRONG-SERIES``, ``LBL-PARTIAL-REF``, ``LBL-CLASSNAME``, ``LBL-OVERLAP``, ``LBL-PLANE`` for a contour
        that is not on a slice, or not on that which it refers to, ``LBL-CONTOURS`` for contours that contradict each other,
        ``LBL-OUTSIDE``, ``LBL-CROSSING``, or ``LBL-GAPS`` for an ROI on every second or third slice only.
    """
    dataset, headers = read_label_dataset(path, image_source, site.data)
    frame_of_reference = get_frame_of_reference(headers)
    with silence_libraries(), library_errors_as(unreadable_label_error):
        names, contours, frames = read_roi_names(dataset), list(read_contours(dataset)), roi_frames(dataset)
        listed_frames = {str(f.FrameOfReferenceUID) for f in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
    closed = [contour for contour in contours if len(contour.points)]
    if any(contour.roi_number not in names for contour in closed):
        raise unreadable_label_error()
    used = sorted({contour.roi_number for contour in closed})
    values = names_to_classes([names[number] for number in used], study, site, "ROIs")
    classes = {number: value for number, value in zip(used, values, strict=True) if value}
    frame_warnings = _check_frames(
        [frames[number] for number in classes], listed_frames | set(frames.values()), frame_of_reference
    )
    closed = [contour for contour in closed if contour.roi_number in classes]
    located, slices = locate_images(headers, get_slice_geometry(image), force=site.data.allow_headerless)
    mask, warnings = _draw_mask(closed, classes, slices, located)
    warnings += [*frame_warnings, *_check_names([names[number] for number in classes])]
    n_open = sum(not len(contour.points) for contour in contours)
    if n_open:
        what = f"{n_open} contour(s) are points or open lines, which enclose nothing; they are left out."
        warnings.append(Finding.warning("LBL-OPEN", what, "Close them if they were meant to be areas."))
    if image.acquired_geometry is None:
        return mask, warnings
    from medfl.data.dicom.resample_stack import resample_labels

    return np.asarray(resample_labels(mask, image.acquired_geometry, image), dtype=np.uint8), warnings


def _check_names(names: Sequence[str]) -> list[Finding]:
    n_same = sum(count for count in Counter(name.strip().casefold() for name in names).values() if count > 1)
    if not n_same:
        return []
    what = f"{n_same} ROIs share a name with another one; they were joined."
    return [Finding.warning("LBL-SAME-NAME", what, "If one is a newer version of the other, delete the older one.")]


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
    contours: Sequence[Contour], classes: Mapping[int, int], slices: SliceGeometry, located: SlicesByImage
) -> tuple[NDArray[np.uint8], list[Finding]]:
    mask = np.zeros(slices.shape, dtype=np.uint8)
    contours_by_slice, outside = group_by_slice(contours, slices, located)
    drawing = _Drawing(slices)
    gaps = check_gaps(contours_by_slice)
    for contour in outside:
        drawing.measure(contour, 0, outside=True)
    for (_, k), slice_contours in contours_by_slice.items():
        for contour in slice_contours:
            drawing.measure(contour, k)
    findings = drawing.check_area()  # first, since what is far outside takes long to draw
    for (number, k), slice_contours in contours_by_slice.items():
        paint_mask(mask[:, :, k], drawing.draw(slice_contours, k) * np.uint8(classes[number]))
    return mask, [*gaps, *findings, *drawing.findings()]


class _Drawing:
    """Areas of contours on their slices, and counts of what was drawn that is not certain."""

    def __init__(self, slices: SliceGeometry) -> None:
        self.slices = slices
        self.shape = slices.shape[:2]
        self.drawn_area = self.outside_area = 0.0
        self.n_pixels = self.n_twice = self.n_doubtful = self.n_specks = 0

    def measure(self, contour: Contour, k: int, *, outside: bool = False) -> None:
        """Add the area of a contour on a slice, or outside the volume.

        Raises
        ------
        DataError
            ``LBL-OUTSIDE`` for a point so far away that it is an error.
        """
        corners = _to_pixels(contour.points, self.slices, k)
        if not np.abs(corners).max() <= _MAX_IMAGE_SIZES * max(self.shape):
            what = f"a contour has a point that is more than {_MAX_IMAGE_SIZES} times the size of the image away from it."
            raise DataError("LBL-OUTSIDE", what, "Correct the contour, and export the label again.")
        area = _polygon_area(corners)
        inside = 0.0 if outside else _polygon_area(_clip_to_image(corners, self.shape))
        self.drawn_area, self.outside_area = self.drawn_area + area, self.outside_area + area - inside

    def draw(self, contours: Sequence[Contour], k: int) -> NDArray[np.uint8]:
        """Return 1 for the pixels of the contours of one ROI on a slice.

        Raises
        ------
        DataError
            ``LBL-CONTOURS``.
        """
        kinds = {contour.exclusive for contour in contours}
        if len(kinds) > 1:
            what = "contours of one ROI on one slice are of the types CLOSED_PLANAR and CLOSEDPLANAR_XOR, which contradict."
            raise DataError("LBL-CONTOURS", what, "Export the RTSTRUCT again, with one type for each ROI (PS3.3 C.8.8.6.3).")
        outlines = []
        for contour in contours:
            outline = draw_outline(_to_pixels(contour.points, self.slices, k), self.shape)
            self.n_pixels, self.n_twice = self.n_pixels + int(outline.area.sum()), self.n_twice + outline.n_twice
            self.n_specks += not (outline.area.any() or outline.whiskers.any())
            outlines.append(outline)
        pixels, n_doubtful = combine(outlines, self.shape, exclusive=kinds == {True})
        self.n_doubtful += n_doubtful
        return pixels.astype(np.uint8)

    def check_area(self) -> list[Finding]:
        """Return a warning about a small area outside the image.

        Raises
        ------
        DataError
            ``LBL-OUTSIDE`` where it is more than a small share.
        """
        if self.outside_area <= 1e-6 * self.drawn_area:
            return []
        share = self.outside_area / self.drawn_area
        what = f"{_percent(share)} % of the drawn area is outside the image."
        fix = "Check that the contours belong to this series, and that it is complete."
        return [_warn_or_raise(DataError("LBL-OUTSIDE", what, fix), share)]

    def findings(self) -> list[Finding]:
        """Return warnings about what was drawn.

        Raises
        ------
        DataError
            ``LBL-CROSSING`` or ``LBL-CONTOURS`` where it is more than a small share.
        """
        findings = []
        if self.n_twice:
            share = self.n_twice / max(self.n_pixels, self.n_twice)
            what = f"contours cross themselves and run twice around {_percent(share)} % of what they enclose."
            fix = "Whether that is inside is unknown; it is taken to be, if it is little. Draw the contours without crossings."
            findings.append(_warn_or_raise(DataError("LBL-CROSSING", what, fix), share))
        if self.n_doubtful:
            share = self.n_doubtful / max(self.n_pixels, self.n_doubtful)
            what = (
                f"small contours, of {_percent(share)} % of what is drawn, lie within half a pixel of the line of another one."
            )
            fix = "Whether they are parts or holes of it is unknown; they are taken to be parts, if it is little."
            findings.append(_warn_or_raise(DataError("LBL-CONTOURS", what, fix), share))
        if self.n_specks:
            what = f"{self.n_specks} contour(s) enclose the centre of no pixel, and mark nothing."
            findings.append(Finding.warning("LBL-SPECK", what, "Look whether they are too small, or outside the image."))
        return findings


def _percent(share: float) -> str:
    return f"{max(100 * share, 0.01):.3g}"


def _warn_or_raise(problem: DataError, share: float) -> Finding:
    if share > _MAX_DOUBTFUL_SHARE:
        raise problem
    return Finding.from_error(problem, level="warning")


def _to_pixels(points: Points, slices: SliceGeometry, k: int) -> Points:
    """Return the points of a contour in pixels of a slice, (n, 2): column, row."""
    matrix = slice_matrix(slices, k)
    pixels, *_ = np.linalg.lstsq(matrix[:, :2], (points - matrix[:, 2]).T, rcond=None)
    # programs trace masks through the centres of pixels and round the mm: points on a centre must stay there
    rounded = np.round(pixels)
    return np.asarray(np.where(np.abs(pixels - rounded) < CENTRE_TOLERANCE, rounded, pixels).T, dtype=np.float64)


def _clip_to_image(corners: Points, shape: tuple[int, int]) -> Points:
    """Return a contour with points beyond the edge of the image moved onto the edge.

    Exact for a contour that crosses one side of the image; one entirely outside gets no area.
    """
    return np.clip(corners, -0.5, np.array(shape) - 0.5)


def _polygon_area(corners: Points) -> float:
    """Return the area of a polygon in pixels, by the shoelace formula."""
    x, y = corners[:, 0], corners[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
