"""Preprocessing: numbers that can be checked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfl.data.preprocess import orient, preprocess, spatial
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


def of_modality(modality: str, dimension: int = 3, **preprocessing: Any) -> Study:
    values = study_of(dimension).model_dump(by_alias=True)
    values["task"]["modality"] = modality
    values["preprocessing"] = {key.replace("_", "-"): value for key, value in preprocessing.items()}
    return Study.model_validate(values)


def test_standardize_clips_then_centres_and_scales() -> None:
    study = study_of(2, intensity="standardize", window="0,100", mean=60.0, std=20.0)
    done, _ = preprocess(volume_of([[-1000, 40], [80, 3000]]), None, study)
    np.testing.assert_allclose(done.array.ravel(), [-3, -1, 1, 2])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("lung", -1000, 400), ("Abdomen", -160, 240), ("bone", -500, 1300), ("brain", 0, 80), ("mediastinum", -125, 225)],
)
def test_a_window_is_called_by_its_name(name: str, low: float, high: float) -> None:
    study = of_modality("CT", 2, intensity="window", window=name)
    assert study.preprocessing.window == (low, high)
    done, _ = preprocess(volume_of([[low - 9, low], [(low + high) / 2, high + 9]]), None, study)
    np.testing.assert_allclose(done.array.ravel(), [0, 0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"window": "lungs", "intensity": "window"}, "abdomen, bone, brain, lung, mediastinum"),
        ({"window": "1", "intensity": "standardize", "std": 1.0}, "'standardize' needs 'window'"),
        ({"window": "0,1", "intensity": "standardize"}, "needs 'mean' and 'std'"),
    ],
)
def test_an_incomplete_choice_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        study_of(2, **changes)


@pytest.mark.parametrize(
    ("modality", "choice"),
    [
        ("CT", {"bias_correction": "n4"}),
        ("XR", {"bias_correction": "n4"}),
        ("MR", {"contrast": "equalize"}),
        ("MR", {"crop": "body"}),
    ],
)
def test_a_choice_for_another_modality_is_refused(modality: str, choice: dict[str, str]) -> None:
    (key,) = choice
    with pytest.raises(ValueError, match=f"preprocessing.{key.replace('_', '-')}: this choice is for"):
        of_modality(modality, **choice)


def test_crop_to_what_is_not_zero_keeps_negative_voxels() -> None:
    values = np.zeros((2, 6, 6, 6), np.float32)
    values[0, 2, 2:4, 3] = -7.0
    values[1, 3, 2, 4] = 1.0
    done, _ = preprocess(Volume(values), None, study_of(crop="nonzero"))
    assert done.shape == (2, 2, 2)
    np.testing.assert_array_equal(done.affine[:3, 3], [2, 2, 3])


def test_crop_to_the_body_leaves_air_and_table_out_and_keeps_the_ends_of_the_scan() -> None:
    values = np.full((1, 60, 60, 4), -1000.0, np.float32)  # 5 mm voxels; the body runs through both ends of the scan
    values[0, 20:40, 22:38] = 40.0
    values[0, 10:50, 50:52] = 100.0  # the table
    values[0, 30, 38:50] = 100.0  # what joins the two
    study = of_modality("CT", intensity="window", window="abdomen", crop="body")
    done, _ = preprocess(Volume(values, np.diag([5.0, 5, 5, 1])), None, study)
    first, last = done.affine[:3, 3] / 5, done.affine[:3, 3] / 5 + done.shape
    assert (first <= [20, 22, 0]).all()
    assert (first >= [18, 20, 0]).all()
    assert (last >= [40, 38, 4]).all()
    assert (last <= [42, 42, 4]).all()


def test_crop_to_the_body_of_air_leaves_the_image_whole() -> None:
    study = of_modality("CT", intensity="window", window="lung", crop="body")
    done, _ = preprocess(Volume(np.full((1, 9, 9, 9), -1000.0, np.float32)), None, study)
    assert done.shape == (9, 9, 9)


def test_equalizing_makes_every_grey_value_as_frequent_and_keeps_their_order() -> None:
    values = np.exp(np.linspace(0, 6, 4096, dtype=np.float32)).reshape(1, 64, 64)
    study = of_modality("XR", 2, contrast="equalize", intensity="unit", percentiles="0,100")
    done = preprocess(Volume(values), None, study)[0].array.ravel()
    assert (np.diff(done) >= 0).all()
    assert (done.min(), done.max()) == (0, 1)
    plain = preprocess(Volume(values), None, of_modality("XR", 2, intensity="unit"))[0].array.ravel()
    assert np.median(plain) < 0.06  # most of the image is dark
    np.testing.assert_allclose(np.quantile(done, [0.5, 0.75, 1]), [0.41, 0.71, 1], atol=0.02)  # ranks, as bins tell them


def test_the_bias_field_goes_and_the_tissues_stay() -> None:
    pytest.importorskip("SimpleITK")
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    tissue = np.where(radius < 0.5, 200.0, np.where(radius < 0.9, 100.0, 0.0))
    shaded = (tissue * np.exp(0.4 * x)).astype(np.float32)

    def unevenness(image: Any) -> float:
        inside = image[tissue == 100]
        return float(inside.std() / inside.mean())

    study = study_of(bias_correction="n4", intensity="unit")
    done, _ = preprocess(Volume(shaded[None]), None, study)
    assert unevenness(shaded) > 0.15
    assert unevenness(done.array[0]) < 0.02
    assert np.median(done.array[0][tissue == 200]) / np.median(done.array[0][tissue == 100]) == pytest.approx(2, rel=0.02)
    np.testing.assert_array_equal(done.array, preprocess(Volume(shaded[None]), None, study)[0].array)


def test_bias_correction_of_an_empty_channel_changes_nothing() -> None:
    pytest.importorskip("SimpleITK")
    done, _ = preprocess(Volume(np.zeros((1, 20, 20, 20), np.float32)), None, study_of(bias_correction="n4"))
    assert not done.array.any()


def test_resampling_in_slabs_is_resampling_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 40, 9, 8)).astype(np.float32)
    mask = (values[0] > 0).astype(np.uint8)
    study = study_of(spacing="0.771,1.2,0.91", intensity="window", window="0,1")
    results = []
    for slab in (4, 1000):
        monkeypatch.setattr(spatial, "_SLAB_PLANES", slab)
        results.append(preprocess(Volume(values, np.eye(4)), mask, study))
    np.testing.assert_allclose(results[0][0].array, results[1][0].array, atol=1e-4)
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_array_equal(results[0][0].affine, results[1][0].affine)


def test_orientation_copies_nothing() -> None:
    values = np.zeros((1, 4, 5, 6), np.float32)
    mask = np.zeros((4, 5, 6), np.uint8)
    turned, turned_mask = orient(Volume(values, np.diag([-1.0, -1, 1, 1])), mask, study_of())
    assert np.shares_memory(turned.array, values)
    assert turned_mask is not None
    assert np.shares_memory(turned_mask, mask)
