"""Contours of which it is in doubt what they mean, and contours that are many, long or far away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from medfl.data.dicom.contour_loops import split_whiskers
from medfl.data.dicom.contour_nesting import combine
from medfl.data.dicom.contour_outlines import Outline, draw_outline
from medfl.errors import DataError
from tests.data.dicom.rtstruct_scene import RtstructScene
from tests.data.dicom.test_contours import INSIDE, SQUARE, Pixels, box, draw, rectangle

RING = [(10, 5), (15, 10), (10, 15), (5, 10)]  # a diamond through the centres of pixels, 20 of which are on its line
BRIDGE = [(8.5, 8.5), (8.5, 5), (11.5, 5), (11.5, 8.5), (16.5, 8.5), (16.5, 2.5), (11.5, 2.5), (11.5, 5), (8.5, 5), (8.5, 2.5)]


@pytest.fixture
def scene(make_rtstruct_scene: Any) -> RtstructScene:
    made = make_rtstruct_scene()
    assert isinstance(made, RtstructScene)
    return made


def circle(column: float, row: float, radius: float, count: int) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([column + radius * np.cos(angle), row + radius * np.sin(angle)], axis=1)


@pytest.mark.parametrize("far", [1e5, 1e7, 1e9])
@pytest.mark.parametrize("others", [[], [rectangle(4.5, 6.5, 4.5, 6.5)]])
def test_a_point_far_away_is_refused_before_it_is_drawn(scene: RtstructScene, far: float, others: list[Pixels]) -> None:
    for wild in (
        [*SQUARE[:2], (far, 14.5), SQUARE[3]],
        [*SQUARE[:2], (8.5, -far), SQUARE[2]],
        [*SQUARE, (2.5, far), SQUARE[3]],
    ):
        with pytest.raises(DataError, match="LBL-OUTSIDE"):
            draw(scene, wild, *others)


@pytest.mark.parametrize("text", ["1e20", "-1e160", "1e308"])
def test_a_coordinate_that_no_area_can_be_computed_of_is_refused(scene: RtstructScene, text: str) -> None:
    def put(rt: Any) -> None:
        contour = rt.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = [text, *map(str, contour.ContourData[1:])]

    with pytest.raises(DataError, match="LBL-OUTSIDE"):
        draw(scene, SQUARE, change=put)


def test_a_line_out_of_the_image_is_drawn_as_far_as_the_image_goes(scene: RtstructScene) -> None:
    assert draw(scene, [(5, 3), (15000, 3)])[0] == box(5, 19, 3, 3)
    assert draw(scene, [(5, -15000), (5, 3)])[0] == box(5, 5, 0, 3)
    spike = [(2.5, 2.5), (14.5, 2.5), (14.5, 6), (15000, 6), (14.5, 6), (14.5, 14.5), (2.5, 14.5)]
    assert draw(scene, spike)[0] == INSIDE | box(15, 19, 6, 6)


def test_lines_of_centres_far_outside_are_clipped_to_the_image() -> None:
    outline = draw_outline(np.array([(2.0, 2.0), (1e9, 2.0), (2.0, 5.0)]), (20, 24))
    whisker = draw_outline(np.array([(2.0, 2.0), (1e9, 2.0)]), (20, 24))
    combine(
        [outline, draw_outline(np.array([(3.0, 3.0), (1e9, 3.0), (3.0, 4.0)]), (20, 24)), whisker], (20, 24), exclusive=False
    )
    assert set(map(tuple, np.argwhere(whisker.whiskers).tolist())) == {(n, 0) for n in range(18)}


@pytest.mark.parametrize("turned", [SQUARE[::-1], [(x + 0.02, y) for x, y in SQUARE[::-1]], RING[::-1]])
def test_a_copy_that_runs_the_other_way_may_be_a_hole(scene: RtstructScene, turned: Pixels) -> None:
    with pytest.raises(DataError, match=r"LBL-CONTOURS.*opposite directions"):
        draw(scene, RING if turned == RING[::-1] else SQUARE, turned)


def test_a_wall_of_one_pixel_is_a_ring(scene: RtstructScene) -> None:
    inner = rectangle(3, 11, 3, 12)[::-1]  # along three sides of the outline, three pixels from the fourth
    assert draw(scene, rectangle(3, 14, 3, 12), inner) == (box(3, 14, 3, 12) - box(4, 10, 4, 11), [])
    around = [*RING, RING[0], *RING[::-1], RING[-1]]
    assert len(draw(scene, around)[0]) == 20


@pytest.mark.parametrize(
    "others",
    [
        [rectangle(2.9, 14.1, 2.9, 14.1)],  # 0.57 pixels from the corners
        [rectangle(2.9, 14.1, 2.9, 14.1)[::-1], rectangle(16.5, 18.5, 16.5, 18.5)],
        [[(2.9, 2.9), (14.1, 2.9), (14.1, 13.0), (13.0, 14.1), (2.9, 14.1)]],
    ],
)
def test_a_second_line_that_leaves_nothing_of_an_area_is_refused(scene: RtstructScene, others: list[Pixels]) -> None:
    with pytest.raises(DataError, match=r"LBL-CONTOURS.*may be a copy of the other or a hole"):
        draw(scene, SQUARE, *others)


def test_holes_that_take_all_away_together_are_refused(scene: RtstructScene) -> None:
    strips = [rectangle(2.55 + left, 4.45 + left, 2.6, 14.4) for left in range(0, 12, 2)]
    with pytest.raises(DataError, match=r"LBL-CONTOURS.*takes away all"):
        draw(scene, SQUARE, *strips)
    assert draw(scene, SQUARE, rectangle(3.5, 13.5, 3.5, 13.5)) == (INSIDE - box(4, 13, 4, 13), [])


@pytest.mark.parametrize("poke", [0.06, 0.3, 0.48])
def test_a_remnant_of_few_pixels_along_an_outline_is_joined_with_a_warning(scene: RtstructScene, poke: float) -> None:
    big = rectangle(1.5, 18.5, 2.5, 22.5)
    remnants = [rectangle(18.5 - 1.2, 18.5 + poke, 5.4, 6.4), rectangle(1.5 - poke, 3.6, 10.4, 11.4)]
    for count in (1, 2):
        assert draw(scene, big, *remnants[:count]) == (box(2, 18, 3, 22), ["LBL-CONTOURS"])


def test_a_remnant_that_is_a_large_part_of_the_label_is_refused(scene: RtstructScene) -> None:
    with pytest.raises(DataError, match=r"LBL-CONTOURS.*within half a pixel"):
        draw(scene, rectangle(2.5, 6.5, 2.5, 6.5), rectangle(4.4, 6.8, 4.4, 5.4))
    for hole in (rectangle(2.2, 6.5, 5.5, 9.5), rectangle(10.4, 14.56, 5.5, 9.5)):
        with pytest.raises(DataError, match=r"LBL-CONTOURS.*within half a pixel"):
            draw(scene, SQUARE, hole)


def test_what_a_contour_with_a_channel_encloses_twice_elsewhere_counts(scene: RtstructScene) -> None:
    assert draw(scene, [(2.5, 2.5), (2.5, 8.5), *BRIDGE]) == (box(3, 8, 3, 8) | box(12, 16, 3, 8) | box(9, 11, 5, 5), [])
    with pytest.raises(DataError, match=r"LBL-CROSSING.*run twice"):
        draw(scene, [(2.5, 2.5), (2.5, 6.5), (6.5, 6.5), (6.5, 4.5), (2.5, 4.5), (2.5, 8.5), *BRIDGE])
    notch = [(2.5, 2.5), (2.5, 4.5), (6.5, 4.5), (6.5, 6.5), (2.5, 6.5), (2.5, 8.5), *BRIDGE]
    islands = (box(3, 8, 3, 8) | box(12, 16, 3, 8) | box(9, 11, 5, 5)) - box(3, 6, 5, 6)
    assert draw(scene, notch) == draw(scene, notch[::-1]) == (islands, [])


def test_a_keyhole_that_is_not_inside_is_refused_and_two_keyholes_are_two_holes(scene: RtstructScene) -> None:
    def keyhole(hole: Pixels) -> list[tuple[float, float]]:
        return [SQUARE[0], *hole, hole[0]]

    one, other = rectangle(4.5, 6.5, 4.5, 6.5), rectangle(9.5, 12.5, 8.5, 10.5)[::-1]
    both = [*SQUARE, *keyhole(one), *keyhole(other)]
    assert draw(scene, both) == (INSIDE - box(5, 6, 5, 6) - box(10, 12, 9, 10), [])
    with pytest.raises(DataError, match="LBL-CROSSING"):
        draw(scene, [*SQUARE, *keyhole(rectangle(9.5, 17.5, 8.5, 10.5))])
    with pytest.raises(DataError, match="LBL-CROSSING"):
        draw(scene, [*SQUARE, *keyhole(one), *keyhole(rectangle(5.5, 9.5, 5.5, 9.5))])  # two holes that overlap
    with pytest.raises(DataError, match="LBL-CROSSING"):
        draw(scene, [*SQUARE, *keyhole(rectangle(2.9, 14.1, 2.9, 14.1))])  # leaves nothing


def trace(size: int, smoothness: float) -> tuple[NDArray[np.bool_], list[Outline]]:
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), smoothness)
    mask = np.pad(field[1:-1, 1:-1] > 0, 1)
    return mask, [draw_outline(corners[:-1], mask.shape) for corners in find_contours(mask.astype(float), 0.5)]


def test_hundreds_of_contours_of_a_slice_give_their_mask_again() -> None:
    mask, outlines = trace(200, 1.0)
    assert len(outlines) > 300
    drawn, n_doubtful = combine(outlines, mask.shape, exclusive=False)
    assert n_doubtful == 0
    assert np.array_equal(drawn, mask)


def test_nested_rings_and_long_lines_are_drawn() -> None:
    rings = [draw_outline(circle(256, 256, 250 - 4 * n, 2000), (512, 512)) for n in range(20)]
    drawn, _ = combine(rings, (512, 512), exclusive=False)
    there = [(float(x), float(x // 3 % 2)) for x in range(8000)]
    polygon, segments = split_whiskers(np.array(there + there[-2:0:-1]))
    radius = np.hypot(*(np.indices((512, 512)) - 256))
    assert drawn[256, 6:19].astype(int).tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1]  # lines belong to the rings
    assert not drawn[radius > 250].any()
    assert len(polygon) == 0
    assert len(segments) >= 7999
