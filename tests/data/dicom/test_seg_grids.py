"""SEG objects on other grids than that of their series: other axes, other resolutions, other slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest

from medfl.errors import DataError
from tests.data.dicom.phantom import PIXEL
from tests.data.dicom.seg_scene import GRID, blocks
from tests.data.dicom.writing import oblique


def set_spacing(step: float | None) -> Any:
    """Return a change of SpacingBetweenSlices; None removes it."""

    def change(ds: Any) -> None:
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.pop("SpacingBetweenSlices", None)
        if step:
            measures.SpacingBetweenSlices = step

    return change


def test_a_segmentation_of_every_second_slice_is_another_grid(make_seg_scene: Any) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    every_second, two_slices = np.zeros(GRID, dtype=np.uint8), np.zeros(GRID, dtype=np.uint8)
    every_second[2:6, 3:15, 1:9:2], two_slices[2:6, 3:15, [2, 6]] = 1, 1
    for step in (5.0, None):
        with pytest.raises(DataError, match="LBL-GEOMETRY"):
            scene.read({"liver": every_second}, change=set_spacing(step))
    # 9: the gap of a scanner
    for values, step in ((every_second, 2.5), (two_slices, 2.5), (two_slices, None), (liver, None), (liver, 9.0)):
        np.testing.assert_array_equal(scene.read({"liver": values}, change=set_spacing(step)), values)


def test_thinner_frames_are_not_joined_into_a_slice(make_seg_scene: Any) -> None:
    scene, (liver, _) = make_seg_scene(distance=1.0), blocks()
    affine = scene.lps()
    affine[:3, 3] -= 0.25 * affine[:3, 0]
    affine[:3, 0] *= 0.5
    thin = np.repeat(liver.transpose(2, 1, 0), 2, axis=0)
    with pytest.raises(DataError, match="LBL-GEOMETRY"):
        scene.read_file(scene.write_volume(thin, affine))


def test_attributes_that_another_grid_needs_are_required_with_a_code(make_seg_scene: Any) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    path = scene.write_volume(liver.transpose(2, 1, 0)[:, ::-1].copy(), scene.lps() @ np.diag([1.0, -1, 1, 1]))
    for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence", "SegmentAlgorithmType"):
        ds = pydicom.dcmread(path)
        del ds.SegmentSequence[0][keyword]
        ds.save_as(scene.folder / "less.dcm")
        with pytest.raises(DataError, match="LBL-READ"):
            scene.read_file(scene.folder / "less.dcm")


def test_frames_along_other_axes_are_reoriented(make_seg_scene: Any) -> None:
    scene, (liver, _) = make_seg_scene(oblique()), blocks()
    slices_first = liver.transpose(2, 1, 0)
    sagittal = slices_first.transpose(2, 0, 1)[::-1]  # columns from the last, slices, rows
    affine = scene.lps()[:, [2, 0, 1, 3]]
    affine[:3, 3] += affine[:3, 0] * (sagittal.shape[0] - 1)
    affine[:3, 0] *= -1
    np.testing.assert_array_equal(scene.read_file(scene.write_volume(sagittal.copy(), affine)), liver)


def test_another_resolution_must_be_allowed_by_the_site(make_seg_scene: Any) -> None:
    strict, (liver, _) = make_seg_scene(), blocks()
    fine = np.repeat(np.repeat(liver.transpose(2, 1, 0), 2, axis=1), 2, axis=2)
    affine = strict.lps()
    affine[:3, 3] -= 0.25 * (affine[:3, 1] + affine[:3, 2])
    affine[:3, 1:3] /= 2
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*label-geometry"):
        strict.read_file(strict.write_volume(fine, affine))
    relaxed = make_seg_scene(data={"label_geometry": "resample"})
    np.testing.assert_array_equal(relaxed.read_file(relaxed.write_volume(fine, affine)), liver)  # empty slices were left out
    affine[:3, 3] += [3.0, 0.0, 0.0]
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*3\.0 mm.*2 mm is too much"):
        relaxed.read_file(relaxed.write_volume(fine, affine))


def test_half_a_pixel_off_is_another_grid(make_seg_scene: Any) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    for share, fits in ((0.4, True), (0.6, False)):
        affine = scene.lps()
        affine[:3, 3] += [share * min(PIXEL), 0.0, 0.0]
        path = scene.write_volume(liver.transpose(2, 1, 0), affine)
        if fits:
            np.testing.assert_array_equal(scene.read_file(path), liver)
        else:
            with pytest.raises(DataError, match="LBL-GEOMETRY"):
                scene.read_file(path)
