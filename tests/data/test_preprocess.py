"""Preprocessing: numbers that can be checked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfl.data.preprocess import orient, preprocess
from medfl.data.volume import Volume
from medfl.study import Study


def study_of(dimension: int = 3, **preprocessing: Any) -> Study:
    return Study.model_validate(
        {
            "name": "s",
            "rounds": 1,
            "task": {"kind": "segmentation", "dimension": dimension, "modality": "MR", "classes": "background,a"},
            "network": {"name": "unet"},
            "loss": {"name": "dice-ce"},
            "preprocessing": {key.replace("_", "-"): value for key, value in preprocessing.items()},
        }
    )


def volume_of(*values: Any, affine: Any = None) -> Volume:
    return Volume(np.array(values, dtype=np.float32), np.eye(4) if affine is None else np.asarray(affine, dtype=float))


def ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Every voxel holds a known linear function of its place in mm: 3x + 5y + 7z."""
    index = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)])
    world = np.einsum("ij,j...->i...", affine, index)
    return 3 * world[0] + 5 * world[1] + 7 * world[2]


def test_orientation_becomes_ras_and_keeps_every_voxel_at_its_place() -> None:
    # array axes run to the posterior, the left and the top
    affine = np.array([[0, -2, 0, 9], [-1, 0, 0, 4], [0, 0, 3, -5], [0, 0, 0, 1]], dtype=float)
    values = ramp((4, 5, 6), affine)
    mask = (values > values.mean()).astype(np.uint8)
    turned, turned_mask = orient(Volume(values[None].astype(np.float32), affine), mask, study_of())
    assert turned.shape == (5, 4, 6)
    assert turned.spacing == (2.0, 1.0, 3.0)
    np.testing.assert_allclose(turned.array[0], ramp((5, 4, 6), turned.affine), atol=1e-4)
    assert turned_mask is not None
    np.testing.assert_array_equal(turned_mask, turned.array[0] > values.mean())


def test_spacing_moves_image_mask_and_affine_together() -> None:
    affine = np.diag([3.0, 1.0, 3.0, 1.0])
    values = ramp((8, 12, 6), affine)
    mask = np.zeros((8, 12, 6), np.uint8)
    mask[2:4, 4:8, 2:4] = 1
    study = study_of(spacing="1,1,1", intensity="window", window="0,1000")
    done, done_mask = preprocess(Volume(values[None].astype(np.float32), affine), mask, study)
    assert done.spacing == pytest.approx((1, 1, 1))
    assert done_mask is not None
    assert done_mask.dtype == np.uint8
    assert done_mask.shape == done.shape
    assert set(np.unique(done_mask)) == {0, 1}
    assert int(done_mask.sum()) == 2 * 4 * 2 * 9  # 9 mm^3 a voxel before, 1 mm^3 after
    np.testing.assert_allclose(done.array[0] * 1000, ramp(done.shape, done.affine), atol=0.01)


def test_size_of_a_volume_pads_and_crops_about_the_centre() -> None:
    values = np.ones((1, 4, 6, 5), np.float32)
    values[0, 1, 2, 2] = 2.0
    mask = (values[0] == 2).astype(np.uint8)
    done, done_mask = preprocess(Volume(values, np.eye(4)), mask, study_of(size="8,4,5", intensity="unit"))
    assert done.shape == (8, 4, 5)
    assert done_mask is not None
    place = np.argwhere(done_mask)
    assert len(place) == 1
    assert done.array[0][tuple(place[0])] == 1.0
    # the affine knows where the voxel is in the world
    np.testing.assert_allclose(done.affine @ [*place[0], 1], [1, 2, 2, 1])


def test_image_keeps_its_aspect_and_is_padded_in_the_centre() -> None:
    values = np.full((1, 40, 20), 5.0, np.float32)
    values[0, :20] = 10.0
    mask = (values[0] == 10).astype(np.uint8)
    done, done_mask = preprocess(Volume(values), mask, study_of(2, size="20,20", intensity="unit"))
    assert done.shape == (20, 20)
    np.testing.assert_array_equal(done.affine, np.eye(4))
    expected = np.zeros((20, 20))
    expected[:10, 5:15] = 1  # 40 x 20 becomes 20 x 10, with 5 columns of zeros on either side
    np.testing.assert_allclose(done.array[0], expected, atol=1e-6)
    np.testing.assert_array_equal(done_mask, expected)


def test_small_image_grows_to_a_size_that_is_not_square() -> None:
    done, _ = preprocess(
        Volume(np.ones((1, 3, 3), np.float32)), None, study_of(2, size="12,6", intensity="window", window="0,1")
    )
    np.testing.assert_allclose(done.array[0].sum(axis=1), [0, 0, 0, 6, 6, 6, 6, 6, 6, 0, 0, 0])


def test_crop_is_the_box_of_the_voxels_above_zero() -> None:
    values = np.zeros((1, 6, 6, 6), np.float32)
    values[0, 1:4, 2:4, 3] = 7.0
    mask = (values[0] > 0).astype(np.uint8)
    done, done_mask = preprocess(Volume(values, np.eye(4)), mask, study_of(crop="foreground", intensity="window", window="0,7"))
    assert done.shape == (3, 2, 1)
    assert done.array.min() == 1.0
    assert done_mask is not None
    assert done_mask.all()
    np.testing.assert_array_equal(done.affine[:3, 3], [1, 2, 3])


def test_crop_of_an_empty_image_leaves_it_whole() -> None:
    done, _ = preprocess(Volume(np.zeros((1, 4, 4, 4), np.float32)), None, study_of(crop="foreground"))
    assert done.shape == (4, 4, 4)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"intensity": "zscore"}, [-1.0, -1.0, 1.0, 1.0]),
        ({"intensity": "zscore-nonzero"}, [0.0, 0.0, 0.0, 0.0]),
        ({"intensity": "unit"}, [0.0, 0.0, 1.0, 1.0]),
        ({"intensity": "window", "window": "0,2"}, [0.0, 0.0, 1.0, 1.0]),
        ({"intensity": "window", "window": "0,8"}, [0.0, 0.0, 0.5, 0.5]),
        ({"intensity": "percentile", "percentiles": "0,100"}, [0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_intensities(settings: dict[str, str], expected: list[float]) -> None:
    done, _ = preprocess(volume_of([[0, 0], [4, 4]]), None, study_of(2, **settings))
    np.testing.assert_allclose(done.array.ravel(), expected, atol=1e-6)


def test_zscore_nonzero_leaves_zeros_and_centres_the_rest() -> None:
    done, _ = preprocess(volume_of([[0, 0], [2, 6]]), None, study_of(2, intensity="zscore-nonzero"))
    np.testing.assert_allclose(done.array.ravel(), [0, 0, -1, 1], atol=1e-6)


def test_channels_are_normalised_one_by_one() -> None:
    done, _ = preprocess(volume_of([[0, 2]], [[100, 300]]), None, study_of(2))
    np.testing.assert_allclose(done.array, [[[-1, 1]], [[-1, 1]]], atol=1e-6)


def test_clip_holds_outliers_back() -> None:
    values = np.arange(101, dtype=np.float32).reshape(1, 101, 1)
    values[0, 100] = 1e6
    free, _ = preprocess(Volume(values), None, study_of(2, intensity="percentile", percentiles="0,50"))
    held, _ = preprocess(Volume(values), None, study_of(2, intensity="percentile", percentiles="0,50", clip=True))
    assert free.array.max() == pytest.approx(20000)
    assert held.array.max() == 1.0
    scored, _ = preprocess(Volume(values), None, study_of(2, clip=True, percentiles="0,99"))
    assert scored.array.max() < 2


@pytest.mark.parametrize("intensity", ["zscore", "zscore-nonzero", "percentile", "window", "unit"])
@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("clip", [False, True])
def test_constant_image_is_no_division_by_zero(intensity: str, value: float, clip: bool) -> None:
    study = study_of(intensity=intensity, window="0,4", clip=clip)
    done, _ = preprocess(Volume(np.full((1, 3, 3, 3), value, np.float32)), None, study)
    assert np.isfinite(done.array).all()
    assert np.ptp(done.array) == 0


def test_float16_never_overflows() -> None:
    values = np.zeros((1, 100, 1), np.float32)
    values[0, -1] = 1e30
    values[0, 10:50] = 1.0
    done, _ = preprocess(Volume(values), None, study_of(2, intensity="percentile", dtype="float16"))
    assert done.array.dtype == np.float16
    assert np.isfinite(done.array).all()


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    values = np.random.default_rng(0).normal(size=(1, 64, 64, 40)).astype(np.float32)
    study = study_of(spacing="1.3,1.3,1.3")
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(preprocess(Volume(values, np.eye(4)), None, study)[0].array)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_source_is_left_alone() -> None:
    values = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3)
    values.flags.writeable = False
    preprocess(Volume(values, np.diag([-1.0, 1, 1, 1])), None, study_of(intensity="unit"))
    assert values.ravel()[26] == 26
