"""Contours of one ROI on one slice: how they combine, lines without area, slices they refer to, and contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from medfl.data.cases import Source
from medfl.data.dicom.contour_nesting import combine
from medfl.data.dicom.contour_outlines import draw_outline
from medfl.data.dicom.rtstruct import read_rtstruct
from medfl.data.dicom.series import read_series
from medfl.errors import DataError
from tests.data.dicom.drawing import write_rtstruct
from tests.data.dicom.phantom import DISTANCE, PIXEL, write_enhanced
from tests.data.dicom.rtstruct_scene import RtstructScene

K = 4  # the slice that is drawn on
Pixels = Sequence[tuple[float, float]]


@pytest.fixture
def scene(make_rtstruct_scene: Any) -> RtstructScene:
    made = make_rtstruct_scene()
    assert isinstance(made, RtstructScene)
    return made


def rectangle(left: float, right: float, top: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def place(scene: RtstructScene, pixels: Pixels, k: int = K, offset: float = 0.0) -> NDArray[np.float64]:
    """Return points of the axial scene, from columns and rows."""
    corner = np.array(scene.datasets[k].ImagePositionPatient, dtype=float)
    return np.asarray([corner + np.array([column * PIXEL[1], row * PIXEL[0], offset]) for column, row in pixels])


def draw(scene: RtstructScene, *contours: Pixels, kind: str = "CLOSED_PLANAR", **options: Any) -> tuple[set[Any], list[str]]:
    """Return the pixels (column, row) that contours on one slice mark, and the codes of the warnings."""
    image = scene.datasets[K]
    drawn = [(place(scene, pixels), image) for pixels in contours]
    mask, warnings = scene.read({"liver": drawn}, contour_type=kind, **options)
    assert not np.delete(mask, K, axis=2).any()
    return {(int(c), int(r)) for c, r in np.argwhere(mask[..., K])}, [warning.code for warning in warnings]


def box(left: int, right: int, top: int, bottom: int) -> set[tuple[int, int]]:
    return {(c, r) for c in range(left, right + 1) for r in range(top, bottom + 1)}


SQUARE = rectangle(2.5, 14.5, 2.5, 14.5)
INSIDE = box(3, 14, 3, 14)


@pytest.mark.parametrize(
    ("contours", "expected"),
    [
        ([rectangle(2.5, 10.5, 2.5, 10.5), rectangle(7.5, 15.5, 5.5, 14.5)], box(3, 10, 3, 10) | box(8, 15, 6, 14)),
        ([SQUARE, rectangle(5.5, 9.5, 5.5, 9.5)], INSIDE - box(6, 9, 6, 9)),
        ([rectangle(5.5, 9.5, 5.5, 9.5), SQUARE], INSIDE - box(6, 9, 6, 9)),  # in any order
        (
            [SQUARE, rectangle(4.5, 12.5, 4.5, 12.5), rectangle(6.5, 9.5, 6.5, 9.5)],
            INSIDE - box(5, 12, 5, 12) | box(7, 9, 7, 9),
        ),
        (
            [SQUARE, rectangle(4.5, 8.5, 4.5, 8.5), rectangle(7.5, 11.5, 7.5, 11.5)],
            INSIDE - box(5, 8, 5, 8) - box(8, 11, 8, 11),
        ),
        ([SQUARE, rectangle(2.5, 6.5, 5.5, 9.5)], INSIDE - box(3, 6, 6, 9)),  # a hole that touches the edge
        ([SQUARE, rectangle(14.5, 17.5, 2.5, 14.5)], box(3, 17, 3, 14)),  # side by side
        ([SQUARE, rectangle(14.5, 15, 2.5, 14.5)], box(3, 15, 3, 14)),  # a sliver along the edge is no hole
        (
            [SQUARE, rectangle(10.5, 17.5, 6.5, 10.5), rectangle(11.5, 13.5, 7.5, 9.5)],
            (INSIDE | box(15, 17, 7, 10)) - box(12, 13, 8, 9),
        ),  # a hole in two that overlap
        ([SQUARE, SQUARE[2:] + SQUARE[:2]], INSIDE),
        ([SQUARE, [(x + 0.02, y) for x, y in SQUARE]], INSIDE),  # a copy that was rounded otherwise
        ([SQUARE, SQUARE, rectangle(5.5, 9.5, 5.5, 9.5)], INSIDE - box(6, 9, 6, 9)),
        ([rectangle(3, 8, 3, 8), rectangle(8, 12, 3, 8)], box(3, 12, 3, 8)),  # through the centres of the same pixels
        ([rectangle(3, 12, 3, 12), rectangle(5, 9, 5, 9)], box(3, 12, 3, 12) - box(6, 8, 6, 8)),  # as OpenCV traces holes
    ],
)
def test_what_is_inside_is_a_hole_and_what_overlaps_in_part_is_joined(
    scene: RtstructScene, contours: list[Pixels], expected: set[Any]
) -> None:
    assert draw(scene, *contours) == (expected, [])


@pytest.mark.parametrize(
    ("contours", "expected"),
    [
        ([SQUARE, rectangle(5.5, 9.5, 5.5, 9.5)], INSIDE - box(6, 9, 6, 9)),
        ([rectangle(2.5, 10.5, 2.5, 10.5), rectangle(7.5, 15.5, 2.5, 10.5)], box(3, 7, 3, 10) | box(11, 15, 3, 10)),
        ([rectangle(3, 8, 3, 8), rectangle(8, 12, 3, 8)], box(3, 12, 3, 8)),
    ],
)
def test_contours_of_the_type_xor_exclude_what_they_share(
    scene: RtstructScene, contours: list[Pixels], expected: set[Any]
) -> None:
    assert draw(scene, *contours, kind="CLOSEDPLANAR_XOR") == (expected, [])


def test_contours_of_which_nobody_knows_what_was_meant_are_refused(scene: RtstructScene) -> None:
    near_copy = [(x + 0.3, y) for x, y in SQUARE]
    leaning_out = rectangle(8.5, 14.9, 5.5, 9.5)
    for other in (near_copy, rectangle(2.8, 14.2, 2.8, 14.2), leaning_out):
        with pytest.raises(DataError, match=r"LBL-CONTOURS.*half a pixel"):
            draw(scene, SQUARE, other)
    with pytest.raises(DataError, match=r"LBL-CONTOURS.*cancel each other"):
        draw(scene, SQUARE, SQUARE, kind="CLOSEDPLANAR_XOR")

    def mix_types(rt: Any) -> None:
        rt.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "CLOSEDPLANAR_XOR"

    with pytest.raises(DataError, match=r"LBL-CONTOURS.*types"):
        draw(scene, SQUARE, rectangle(5.5, 9.5, 5.5, 9.5), change=mix_types)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([(5, 3), (5, 10), (9, 10), (5, 10)], box(5, 5, 3, 10) | box(5, 9, 10, 10)),  # an L
        ([(5, 3), (5, 12)], box(5, 5, 3, 12)),
        ([(5, 3), (5, 12), (5, 3)], box(5, 5, 3, 12)),
        ([(7, 6)], {(7, 6)}),
        ([(4, 4), (9, 9), (12, 9), (9, 9)], {(n, n) for n in range(4, 10)} | box(9, 12, 9, 9)),
        ([(2, 2), (6, 4)], {(2, 2), (3, 2), (4, 3), (5, 4), (6, 4)}),  # a pixel in each column
        ([(5, 3), (5, 12), (9, 12), (5, 12), (5, 7), (9, 7), (5, 7)], box(5, 5, 3, 12) | box(5, 9, 12, 12) | box(5, 9, 7, 7)),
        ([(2, 2), (5, 2), (5, 5), (12, 5), (5, 5), (2, 5)], box(2, 5, 2, 5) | box(5, 12, 5, 5)),  # a tail of one pixel's width
        (
            [(2, 2), (5, 2), (5, 4), (9, 4), (9, 2), (13, 2), (13, 8), (9, 8), (9, 4), (5, 4), (5, 6), (2, 6)],
            box(2, 5, 2, 6) | box(5, 9, 4, 4) | box(9, 13, 2, 8),
        ),  # a bridge
    ],
)
def test_parts_without_area_are_drawn_as_lines(scene: RtstructScene, pixels: Pixels, expected: set[Any]) -> None:
    assert draw(scene, pixels) == (expected, [])
    assert draw(scene, pixels[::-1]) == (expected, [])


@pytest.mark.parametrize("turned", [False, True])
def test_a_keyhole_is_a_hole_in_whatever_direction_it_runs(scene: RtstructScene, turned: bool) -> None:
    first, *others = rectangle(5.5, 9.5, 5.5, 9.5)
    inner = [first, *others[:: -1 if turned else 1]]
    keyhole = [*SQUARE, SQUARE[0], *inner, inner[0]]
    assert draw(scene, keyhole) == (INSIDE - box(6, 9, 6, 9), [])
    for start in ((2.52, 2.5), (2.5, 2.52)):  # a narrow channel, and one whose lines cross
        narrow = [start, *SQUARE[1:], SQUARE[0], *inner, (5.52, 5.5)]
        assert draw(scene, narrow) == (INSIDE - box(6, 9, 6, 9), [])


def test_a_contour_that_crosses_itself_is_refused_where_it_matters(scene: RtstructScene) -> None:
    bow_tie = [(2.5, 2.5), (14.5, 13.5), (14.5, 2.5), (2.5, 13.5)]
    assert draw(scene, bow_tie)[1] == []  # both halves are enclosed once
    assert len(draw(scene, bow_tie)[0]) > 50
    loop = [(2.5, 2.5), (12.5, 2.5), (12.5, 12.5), (6.5, 12.5), (6.5, 5.5), (14.5, 5.5), (14.5, 15.5), (2.5, 15.5)]
    with pytest.raises(DataError, match=r"LBL-CROSSING.*run twice around"):
        draw(scene, loop)
    small = [(1.5, 1.5), (17.5, 1.5), (17.5, 20.5), (10.4, 20.5), (10.4, 19.5), (11.6, 19.5), (11.6, 21.5), (1.5, 21.5)]
    marked, codes = draw(scene, small)
    assert codes == ["LBL-CROSSING"]
    assert (11, 20) in marked


@pytest.mark.parametrize("exclusive", [False, True])
def test_outlines_of_masks_give_the_masks_again(exclusive: bool) -> None:
    rng = np.random.default_rng(1)
    for smoothness in (0.7, 1.5, 3.0):  # many parts with holes and islands, and few
        field = ndimage.gaussian_filter(rng.normal(size=(60, 70)), smoothness)
        mask = np.pad(field > np.quantile(field, 0.6), 2)
        outlines = [draw_outline(corners[:-1], mask.shape) for corners in find_contours(mask.astype(float), 0.5)]
        assert np.array_equal(combine(outlines, mask.shape, exclusive=exclusive)[0], mask)


@pytest.mark.parametrize("count", [60, 720, 1500])
@pytest.mark.parametrize("radius", [0.9, 3.2, 6.1])
def test_the_number_of_points_does_not_matter(scene: RtstructScene, count: int, radius: float) -> None:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    circle = [(9.4 + radius * c, 10.3 + radius * s) for c, s in zip(np.cos(angle), np.sin(angle), strict=True)]
    expected = {(c, r) for c, r in box(0, 19, 0, 23) if np.hypot(c - 9.4, r - 10.3) < radius * np.cos(np.pi / count)}
    assert draw(scene, circle) == (expected, [])
    shaken = [point for n, point in enumerate(circle) for point in ([point, circle[n - 1], point] if n % 9 == 0 else [point])]
    assert draw(scene, shaken) == (expected, [])


def test_contours_around_no_pixel_are_reported(scene: RtstructScene) -> None:
    marked, codes = draw(scene, SQUARE, rectangle(16.2, 16.4, 3.2, 3.4), rectangle(16.2, 16.4, 5.2, 5.4))
    assert (marked, codes) == (INSIDE, ["LBL-SPECK"])


def test_a_contour_half_a_pixel_beyond_the_centres_at_the_edge_is_within_the_image(scene: RtstructScene) -> None:
    assert draw(scene, rectangle(-0.5, 4.5, -0.5, 6.5)) == (box(0, 4, 0, 6), [])
    with pytest.raises(DataError, match="LBL-OUTSIDE"):
        draw(scene, rectangle(-1.0, 4.5, -0.5, 6.5))
    with pytest.raises(DataError, match=r"LBL-OUTSIDE\W+100 % "):
        draw(scene, rectangle(-9.0, -4.5, -0.5, 6.5))


def read_at(scene: RtstructScene, contours: Iterable[tuple[int, float, Any]]) -> list[int]:
    """Return the slices that squares mark, each drawn above slice k by an offset in mm, and referring to an image."""
    drawn = [(place(scene, SQUARE, k, offset), image) for k, offset, image in contours]
    mask, _ = scene.read({"liver": drawn})
    return [int(k) for k in np.flatnonzero(mask.any(axis=(0, 1)))]


@pytest.mark.parametrize("share", [-0.49, -0.11, 0.11, 0.3, 0.48, 0.52, 1.0])
def test_a_contour_off_the_slice_that_it_refers_to_is_refused(scene: RtstructScene, share: float) -> None:
    with pytest.raises(DataError, match=r"LBL-PLANE.*1 of 1 .*every image that they refer to"):
        read_at(scene, [(K, share * DISTANCE, scene.datasets[K])])


@pytest.mark.parametrize("share", [-0.4, 0.11, 0.5])
def test_a_contour_without_a_reference_must_be_on_a_slice_as_well(scene: RtstructScene, share: float) -> None:
    with pytest.raises(DataError, match=r"LBL-PLANE.*from every slice"):
        read_at(scene, [(K, share * DISTANCE, None)])
    assert read_at(scene, [(K, 0.09 * share / abs(share) * DISTANCE, None)]) == [K]


def refer_to(scene: RtstructScene, *slices: int) -> Any:
    """Return a change that makes the first contour refer to the images of slices."""

    def change(rt: Any) -> None:
        contour = rt.ROIContourSequence[0].ContourSequence[0]
        items = [deepcopy(contour.ContourImageSequence[0]) for _ in slices]
        for item, k in zip(items, slices, strict=True):
            item.ReferencedSOPInstanceUID = scene.datasets[k].SOPInstanceUID
        contour.ContourImageSequence = items

    return change


@pytest.mark.parametrize("slices", [(K, K + 1), (K - 1, K), tuple(range(10))])
def test_a_contour_may_refer_to_other_slices_beside_its_own(scene: RtstructScene, slices: tuple[int, ...]) -> None:
    assert draw(scene, SQUARE, change=refer_to(scene, *slices)) == (INSIDE, [])


@pytest.mark.parametrize("slices", [(K + 1,), (K - 1, K + 1), (0, 1, 2)])
def test_a_contour_that_refers_to_other_slices_only_is_refused(scene: RtstructScene, slices: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"LBL-PLANE.*1 of 1 .*every image that they refer to"):
        draw(scene, SQUARE, change=refer_to(scene, *slices))


def test_copies_that_refer_to_different_slices_are_no_copies(scene: RtstructScene) -> None:
    with pytest.raises(DataError, match=r"LBL-PLANE.*1 of 2 "):
        read_at(scene, [(K, 0.0, scene.datasets[K]), (K, 0.0, scene.datasets[K + 1])])


@pytest.mark.parametrize(("number", "fits"), [(K + 1, True), (None, True), (K, False), (K + 2, False), (99, False)])
def test_frames_of_an_enhanced_object_are_referred_to_by_number(scene: RtstructScene, number: int | None, fits: bool) -> None:
    path = write_enhanced(scene.folder / "enhanced.dcm", scene.positions)
    points, enhanced = place(scene, SQUARE), pydicom.dcmread(path)

    def refer(rt: Any) -> None:
        series = rt.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        images = rt.ROIContourSequence[0].ContourSequence[0].ContourImageSequence
        series.ContourImageSequence = images
        images[0].ReferencedSOPInstanceUID = enhanced.SOPInstanceUID
        if number:
            images[0].ReferencedFrameNumber = number

    label = write_rtstruct(scene.folder / "rt.dcm", scene.paths, {"liver": [(points, scene.datasets[K])]}, change=refer)
    arguments = (read_series([path], scene.site.data), Source("dicom", (path,)), scene.study, scene.site)
    if fits:
        assert read_rtstruct(label, *arguments)[0].sum(axis=(0, 1)).tolist() == [0] * K + [144] + [0] * 5
        return
    with pytest.raises(DataError, match="LBL-PLANE"):
        read_rtstruct(label, *arguments)


def test_numbers_that_occur_twice_are_refused(scene: RtstructScene) -> None:
    rois = {"liver": [(place(scene, SQUARE), scene.datasets[K])], "lesion": [(place(scene, SQUARE, 7), scene.datasets[7])]}

    def same_roi_number(rt: Any) -> None:
        rt.StructureSetROISequence[1].ROINumber = 1

    def same_referenced_number(rt: Any) -> None:
        rt.ROIContourSequence[1].ReferencedROINumber = 1

    for change in (same_roi_number, same_referenced_number):
        with pytest.raises(DataError, match=r"LBL-READ.*occur twice"):
            scene.read(rois, change=change)
    assert scene.read(rois)[0].max() == 2


def test_two_rois_of_one_name_are_joined_with_a_warning(scene: RtstructScene) -> None:
    rois = {
        "liver": [(place(scene, rectangle(2.5, 8.5, 2.5, 8.5)), scene.datasets[K])],
        "Liver ": [(place(scene, rectangle(4.5, 7.5, 4.5, 7.5)), scene.datasets[K])],
    }
    mask, warnings = scene.read(rois)
    assert (int(mask.sum()), [warning.code for warning in warnings]) == (36, ["LBL-SAME-NAME"])  # of another ROI: no hole


def test_coordinates_that_do_not_fit_their_number_are_refused(scene: RtstructScene) -> None:
    def say(count: int) -> Any:
        return lambda rt: setattr(rt.ROIContourSequence[0].ContourSequence[0], "NumberOfContourPoints", count)

    def put(text: str) -> Any:
        def change(rt: Any) -> None:
            contour = rt.ROIContourSequence[0].ContourSequence[0]
            contour.ContourData = [*map(str, contour.ContourData[:-1]), text]

        return change

    def leave_out_count(rt: Any) -> None:
        del rt.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints

    for count in (3, 5):
        with pytest.raises(DataError, match=rf"LBL-READ.*12 coordinates.*{count} points"):
            draw(scene, SQUARE, change=say(count))
    with pytest.raises(DataError, match="LBL-READ"), pytest.warns(UserWarning, match="."):
        draw(scene, SQUARE, change=put("nan"))
    assert draw(scene, SQUARE, change=leave_out_count) == (INSIDE, [])
