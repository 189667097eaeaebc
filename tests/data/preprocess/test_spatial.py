"""Orientation, spacing and size of images with their masks, with numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.data.preprocess import spatial
from medfl.data.preprocess.steps import orient, preprocess
from medfl.data.volume import Volume
from tests.data.preprocess.studies import make_study


def ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Return voxels that hold a known linear function of its position in mm: 3x + 5y + 7z."""
    index = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)])
    world = np.einsum("ij,j...->i...", affine, index)
    return 3 * world[0] + 5 * world[1] + 7 * world[2]


def test_orientation_becomes_ras_and_keeps_every_voxel_at_its_position() -> None:
    # array axes point to the posterior, the left and the top
    affine = np.array([[0, -2, 0, 9], [-1, 0, 0, 4], [0, 0, 3, -5], [0, 0, 0, 1]], dtype=float)
    values = ramp((4, 5, 6), affine)
    mask = (values > values.mean()).astype(np.uint8)
    reoriented, reoriented_mask = orient(Volume(values[None].astype(np.float32), affine), mask, make_study())
    assert reoriented.shape == (5, 4, 6)
    assert reoriented.spacing == (2.0, 1.0, 3.0)
    np.testing.assert_allclose(reoriented.array[0], ramp((5, 4, 6), reoriented.affine), atol=1e-4)
    assert reoriented_mask is not None
    np.testing.assert_array_equal(reoriented_mask, reoriented.array[0] > values.mean())


def test_orientation_copies_nothing() -> None:
    values = np.zeros((1, 4, 5, 6), np.float32)
    mask = np.zeros((4, 5, 6), np.uint8)
    reoriented, reoriented_mask = orient(Volume(values, np.diag([-1.0, -1, 1, 1])), mask, make_study())
    assert np.shares_memory(reoriented.array, values)
    assert reoriented_mask is not None
    assert np.shares_memory(reoriented_mask, mask)


def test_spacing_resamples_image_mask_and_affine_together() -> None:
    affine = np.diag([3.0, 1.0, 3.0, 1.0])
    values = ramp((8, 12, 6), affine)
    mask = np.zeros((8, 12, 6), np.uint8)
    mask[2:4, 4:8, 2:4] = 1
    study = make_study(spacing="1,1,1", intensity="window", window="0,1000")
    result, result_mask = preprocess(Volume(values[None].astype(np.float32), affine), mask, study)
    assert result.spacing == pytest.approx((1, 1, 1))
    assert result_mask is not None
    assert result_mask.dtype == np.uint8
    assert result_mask.shape == result.shape
    assert set(np.unique(result_mask)) == {0, 1}
    assert int(result_mask.sum()) == 2 * 4 * 2 * 9  # 9 mm^3 per voxel before, 1 mm^3 after
    np.testing.assert_allclose(result.array[0] * 1000, ramp(result.shape, result.affine), atol=0.01)


def test_size_of_a_volume_pads_and_crops_about_the_centre() -> None:
    values = np.ones((1, 4, 6, 5), np.float32)
    values[0, 1, 2, 2] = 2.0
    mask = (values[0] == 2).astype(np.uint8)
    result, result_mask = preprocess(Volume(values, np.eye(4)), mask, make_study(size="8,4,5", intensity="unit"))
    assert result.shape == (8, 4, 5)
    assert result_mask is not None
    position = np.argwhere(result_mask)
    assert len(position) == 1
    assert result.array[0][tuple(position[0])] == 1.0
    # the affine knows where the voxel is in the world
    np.testing.assert_allclose(result.affine @ [*position[0], 1], [1, 2, 2, 1])


def test_image_keeps_its_aspect_and_is_padded_in_the_centre() -> None:
    values = np.full((1, 40, 20), 5.0, np.float32)
    values[0, :20] = 10.0
    mask = (values[0] == 10).astype(np.uint8)
    result, result_mask = preprocess(Volume(values), mask, make_study(2, size="20,20", intensity="unit"))
    assert result.shape == (20, 20)
    np.testing.assert_array_equal(result.affine, np.eye(4))
    expected = np.zeros((20, 20))
    expected[:10, 5:15] = 1  # 40 x 20 becomes 20 x 10, with 5 columns of zeros on either side
    np.testing.assert_allclose(result.array[0], expected, atol=1e-6)
    np.testing.assert_array_equal(result_mask, expected)


def test_small_image_grows_to_a_size_that_is_not_square() -> None:
    result, _ = preprocess(
        Volume(np.ones((1, 3, 3), np.float32)), None, make_study(2, size="12,6", intensity="window", window="0,1")
    )
    np.testing.assert_allclose(result.array[0].sum(axis=1), [0, 0, 0, 6, 6, 6, 6, 6, 6, 0, 0, 0])


def test_resampling_in_slabs_equals_resampling_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 40, 9, 8)).astype(np.float32)
    mask = (values[0] > 0).astype(np.uint8)
    study = make_study(spacing="0.771,1.2,0.91", intensity="window", window="0,1")
    results = []
    for slab in (4, 1000):
        monkeypatch.setattr(spatial, "_SLAB_PLANES", slab)
        results.append(preprocess(Volume(values, np.eye(4)), mask, study))
    np.testing.assert_allclose(results[0][0].array, results[1][0].array, atol=1e-4)
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_array_equal(results[0][0].affine, results[1][0].affine)
