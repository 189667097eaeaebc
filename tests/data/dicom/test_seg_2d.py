"""SEG objects of 2-D images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.dicom.image import read_dicom_image
from medfl.data.labels import read_mask
from medfl.errors import DataError
from tests.data.dicom.drawing import write_seg
from tests.data.dicom.phantom import SHAPE, stack, write_slices
from tests.data.dicom.writing import put

NAMES = (("left", "lung"), ("right", "lung"))


def test_an_xray_may_have_a_segmentation(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    paths = write_slices(tmp_path / "series", stack(count=1), put(PixelSpacing=[1, 1]))
    lung = np.zeros((*SHAPE[::-1], 1), dtype=np.uint8)
    lung[3:9, 4:6] = 1

    def remove_position(ds: Any) -> None:
        del ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence

    path = write_seg(tmp_path / "seg.dcm", paths, {"Lung": lung}, change=remove_position)
    study = make_study(task__dimension=2, task__classes="background,lung")
    source = Source("dicom", (paths[0],))
    image = read_dicom_image(paths[0])
    mask = read_mask(Source("dicom", (path,)), image, source, study, make_site(tmp_path))
    np.testing.assert_array_equal(mask, lung[..., 0])


def test_a_2d_segmentation_of_another_position_or_orientation_is_refused(
    tmp_path: Path, make_study: Any, make_site: Any
) -> None:
    paths = write_slices(tmp_path / "series", stack(count=1), put(PixelSpacing=[1, 1]))
    lung = np.ones((*SHAPE[::-1], 1), dtype=np.uint8)
    study, site = make_study(task__dimension=2, task__classes="background,lung"), make_site(tmp_path)

    def read(change: Any) -> NDArray[np.uint8]:
        path = write_seg(tmp_path / "seg.dcm", paths, {"Lung": lung}, change=change)
        return read_mask(Source("dicom", (path,)), read_dicom_image(paths[0]), Source("dicom", (paths[0],)), study, site)

    def rotate(ds: Any) -> None:
        ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]

    def shift(ds: Any) -> None:
        ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]

    def stretch(ds: Any) -> None:
        ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.1, 1]

    assert read(lambda ds: None).all()
    for change, message in ((rotate, "rotated against"), (shift, "not at the position"), (stretch, "not at the position")):
        with pytest.raises(DataError, match=f"LBL-GEOMETRY.*{message}"):
            read(change)


def test_two_frames_of_a_segment_on_one_image_are_refused(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    paths = write_slices(tmp_path / "series", stack(count=1), put(PixelSpacing=[1, 1]))
    left, right = np.zeros((2, *SHAPE[::-1], 1), dtype=np.uint8)
    left[2:5, 3:9], right[10:14, 3:9] = 1, 1
    study, site = make_study(task__dimension=2, task__classes="background,lung"), make_site(tmp_path, label_names=NAMES)

    def read(change: Any) -> NDArray[np.uint8]:
        path = write_seg(tmp_path / "seg.dcm", paths, {"Left": left, "Right": right}, change=change)
        return read_mask(Source("dicom", (path,)), read_dicom_image(paths[0]), Source("dicom", (paths[0],)), study, site)

    def same_segment(ds: Any) -> None:
        for frame in ds.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1

    np.testing.assert_array_equal(read(lambda ds: None), (left | right)[..., 0])
    with pytest.raises(DataError, match="LBL-FRAMES"):
        read(same_segment)


def test_a_2d_segmentation_follows_its_image_to_square_pixels(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    paths = write_slices(tmp_path / "series", stack(count=1), put(PixelSpacing=[2, 1]))
    lung = np.zeros((*SHAPE[::-1], 1), dtype=np.uint8)
    lung[3:9, 4:6] = 1
    path = write_seg(tmp_path / "seg.dcm", paths, {"Lung": lung})
    study, source = make_study(task__dimension=2, task__classes="background,lung"), Source("dicom", (paths[0],))
    image = read_dicom_image(paths[0])
    mask = read_mask(Source("dicom", (path,)), image, source, study, make_site(tmp_path))
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask, np.repeat(lung[..., 0], 2, axis=1))
