"""Pictures of a case show what a radiologist expects: right on the left, front up, and true proportions."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.data.quality.preview_planes import PREVIEW_SIDE, render_planes
from medfl.data.volume import Volume

RAS = np.diag([1.0, 1.0, 2.0, 1.0])


def bright(place: tuple[int, int, int], affine: np.ndarray = RAS) -> Volume:
    array = np.zeros((1, 20, 10, 10), np.float32)
    array[0][place] = 100.0
    array[0][::7, ::7, ::7] += 1.0
    return Volume(array, affine)


def marked(place: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((20, 10, 10), np.uint8)
    mask[place] = 1
    return mask


def centre(mask: np.ndarray) -> tuple[float, float]:
    """Return where the mask lies, as shares of the height and the width."""
    rows, columns = np.nonzero(mask)
    return rows.mean() / mask.shape[0], columns.mean() / mask.shape[1]


def test_planes_show_right_on_the_left_and_front_and_head_up() -> None:
    right_front_top = (18, 8, 8)  # RAS+: the axes point to the right, the front and the head
    axial, coronal, sagittal = render_planes(bright(right_front_top), marked(right_front_top), "MR")
    assert [plane.name for plane in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    for plane in (axial, coronal):
        assert centre(plane.mask)[0] < 0.3
        assert centre(plane.mask)[1] < 0.3
    assert centre(sagittal.mask)[0] < 0.3
    assert centre(sagittal.mask)[1] < 0.3  # the front is on the left


def test_the_order_of_the_axes_in_the_file_changes_nothing() -> None:
    mask = marked((18, 8, 8))
    plain = render_planes(bright((18, 8, 8)), mask, "MR")
    turned = Volume(
        bright((18, 8, 8)).array.transpose(0, 3, 1, 2)[:, ::-1],
        np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [-2, 0, 0, 18], [0, 0, 0, 1]]),
    )
    again = render_planes(turned, mask.transpose(2, 0, 1)[::-1], "MR")
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.grey, other.grey)


def test_proportions_follow_the_spacing_and_all_planes_have_one_scale() -> None:
    axial, coronal, sagittal = render_planes(bright((1, 1, 1)), None, "MR")  # 20 x 10 x 20 mm
    assert axial.grey.shape == (PREVIEW_SIDE // 2, PREVIEW_SIDE)
    assert coronal.grey.shape == (PREVIEW_SIDE, PREVIEW_SIDE)
    assert sagittal.grey.shape == (PREVIEW_SIDE, PREVIEW_SIDE // 2)
    assert not axial.mask.any()


def test_the_slice_with_most_marked_voxels_is_shown() -> None:
    mask = np.zeros((20, 10, 10), np.uint8)
    mask[3, 3, 2], mask[4:8, 4:8, 7] = 1, 1
    axial, *_ = render_planes(bright((0, 0, 7)), mask, "MR")
    assert axial.mask.mean() == pytest.approx(16 / 200, rel=0.1)


def test_a_flat_image_is_shown_as_stored() -> None:
    array = np.zeros((1, 8, 4), np.float32)  # 8 columns, 4 rows
    array[0, 7, 0] = 9.0  # the upper right corner
    (plane,) = render_planes(Volume(array), None, "XR")
    assert plane.grey.shape == (PREVIEW_SIDE // 2, PREVIEW_SIDE)
    assert plane.grey[0, -1] == 255
