"""Crop boxes of images, with numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np

from medfl.data.preprocess.steps import preprocess
from medfl.data.volume import Volume
from tests.data.preprocess.studies import make_study, study_of_modality


def test_crop_is_the_box_of_the_voxels_above_zero() -> None:
    values = np.zeros((1, 6, 6, 6), np.float32)
    values[0, 1:4, 2:4, 3] = 7.0
    mask = (values[0] > 0).astype(np.uint8)
    result, result_mask = preprocess(
        Volume(values, np.eye(4)), mask, make_study(crop="foreground", intensity="window", window="0,7")
    )
    assert result.shape == (3, 2, 1)
    assert result.array.min() == 1.0
    assert result_mask is not None
    assert result_mask.all()
    np.testing.assert_array_equal(result.affine[:3, 3], [1, 2, 3])


def test_crop_of_an_empty_image_leaves_it_whole() -> None:
    result, _ = preprocess(Volume(np.zeros((1, 4, 4, 4), np.float32)), None, make_study(crop="foreground"))
    assert result.shape == (4, 4, 4)


def test_crop_nonzero_keeps_negative_voxels() -> None:
    values = np.zeros((2, 6, 6, 6), np.float32)
    values[0, 2, 2:4, 3] = -7.0
    values[1, 3, 2, 4] = 1.0
    result, _ = preprocess(Volume(values), None, make_study(crop="nonzero"))
    assert result.shape == (2, 2, 2)
    np.testing.assert_array_equal(result.affine[:3, 3], [2, 2, 3])


def test_crop_to_the_body_leaves_air_and_table_out_and_keeps_the_ends_of_the_scan() -> None:
    values = np.full((1, 60, 60, 4), -1000.0, np.float32)  # 5 mm voxels; the body runs through both ends of the scan
    values[0, 20:40, 22:38] = 40.0
    values[0, 10:50, 50:52] = 100.0  # the table
    values[0, 30, 38:50] = 100.0  # a bridge between the two
    study = study_of_modality("CT", intensity="window", window="abdomen", crop="body")
    result, _ = preprocess(Volume(values, np.diag([5.0, 5, 5, 1])), None, study)
    first, last = result.affine[:3, 3] / 5, result.affine[:3, 3] / 5 + result.shape
    assert (first <= [20, 22, 0]).all()
    assert (first >= [18, 20, 0]).all()
    assert (last >= [40, 38, 4]).all()
    assert (last <= [42, 42, 4]).all()


def test_crop_to_the_body_of_air_leaves_the_image_whole() -> None:
    study = study_of_modality("CT", intensity="window", window="lung", crop="body")
    result, _ = preprocess(Volume(np.full((1, 9, 9, 9), -1000.0, np.float32)), None, study)
    assert result.shape == (9, 9, 9)
