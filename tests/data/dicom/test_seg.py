"""SEG objects on the slices of their series: what was drawn is read voxel by voxel; damaged objects are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Source
from medfl.data.dicom.resample_stack import resample_labels
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.predictions import ModelOrigin
from medfl.data.predictions import write_seg as write_prediction
from medfl.errors import DataError
from tests.data.dicom.drawing import write_seg
from tests.data.dicom.phantom import AXIAL, write_slices
from tests.data.dicom.seg_scene import CLASSES, GRID, blocks
from tests.data.dicom.writing import oblique


@pytest.mark.parametrize("segmentation_type", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("axes", [AXIAL, oblique()], ids=["axial", "oblique"])
def test_what_was_drawn_is_read_voxel_by_voxel(make_seg_scene: Any, segmentation_type: str, axes: Any) -> None:
    liver, lesion = blocks()
    np.testing.assert_array_equal(
        make_seg_scene(axes).read({"Liver": liver, "LESION": lesion}, segmentation_type), liver + 2 * lesion
    )


def test_slices_that_were_stored_descending_are_the_same(make_seg_scene: Any) -> None:
    liver, _ = blocks()
    np.testing.assert_array_equal(make_seg_scene(distance=-2.5).read({"liver": liver[:, :, ::-1]}), liver[:, :, ::-1])


def test_a_fraction_counts_from_one_half_on(make_seg_scene: Any) -> None:
    liver, _ = blocks()
    shares = liver * np.float32(0.49)
    shares[2, 3, 1], shares[3, 3, 1] = 0.51, 1.0
    mask = make_seg_scene().read({"liver": shares}, "FRACTIONAL", max_fractional_value=200)
    assert np.argwhere(mask).tolist() == [[2, 3, 1], [3, 3, 1]]
    exact = np.zeros(GRID, dtype=np.float32)
    exact[5, 5, 5] = 0.5
    assert make_seg_scene().read({"liver": exact}, "FRACTIONAL", max_fractional_value=200).sum() == 1


def test_fractions_of_nothing_are_refused(make_seg_scene: Any) -> None:
    liver, _ = blocks()
    for change in (lambda ds: delattr(ds, "MaximumFractionalValue"), lambda ds: setattr(ds, "MaximumFractionalValue", 0)):
        with pytest.raises(DataError, match="LBL-READ"):
            make_seg_scene().read({"liver": liver * np.float32(0.1)}, "FRACTIONAL", change=change)


def test_segments_of_one_class_are_joined_and_those_of_others_must_not_overlap(make_seg_scene: Any) -> None:
    liver, lesion = blocks()
    scene = make_seg_scene(data={"label_names": (("left", "liver"), ("right", "Liver"))})
    np.testing.assert_array_equal(scene.read({"left": liver, "right": liver | lesion}), liver | lesion)
    overlapping = liver.copy()
    overlapping[6:9] = 0
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        scene.read({"left": liver, "lesion": overlapping})


def test_segments_mapped_to_the_background_are_left_out(make_seg_scene: Any) -> None:
    liver, lesion = blocks()
    scene = make_seg_scene(data={"label_names": (("*", "background"),)})
    np.testing.assert_array_equal(scene.read({"CANARY": liver | lesion, "liver": liver}), liver)
    np.testing.assert_array_equal(scene.read({"CANARY": lesion, "liver": liver}, "LABELMAP"), liver)


def test_names_of_no_class_are_refused_without_repeating_them(make_seg_scene: Any) -> None:
    liver, lesion = blocks()
    with pytest.raises(DataError, match=r"LBL-CLASSNAME.*1 of 2 segments.*liver, lesion") as caught:
        make_seg_scene().read({"liver": liver, "CANARY": lesion})
    assert "CANARY" not in str(caught.value)


def test_a_single_frame_is_enough(make_seg_scene: Any) -> None:
    liver = np.zeros(GRID, dtype=np.uint8)
    liver[3, 4, 7] = 1
    np.testing.assert_array_equal(make_seg_scene().read({"liver": liver}), liver)


def test_frames_without_a_position_are_placed_by_the_image_they_reference(make_seg_scene: Any) -> None:
    liver, lesion = blocks()

    def remove_positions(ds: Any) -> None:
        for frame in ds.PerFrameFunctionalGroupsSequence:
            del frame.PlanePositionSequence
        del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence

    def remove_positions_and_references(ds: Any) -> None:
        remove_positions(ds)
        for frame in ds.PerFrameFunctionalGroupsSequence:
            del frame.DerivationImageSequence

    scene = make_seg_scene()
    np.testing.assert_array_equal(scene.read({"liver": liver, "lesion": lesion}, change=remove_positions), liver + 2 * lesion)
    with pytest.raises(DataError, match="LBL-GEOMETRY"):
        scene.read({"liver": liver}, change=remove_positions_and_references)


@pytest.mark.parametrize("shape", [(5, 7), (19, 21), (31, 8)])
@pytest.mark.parametrize("segmentation_type", ["BINARY", "LABELMAP"])
def test_frames_may_begin_within_a_byte(
    tmp_path: Path, make_study: Any, make_site: Any, shape: Any, segmentation_type: Any
) -> None:
    paths = write_slices(tmp_path / "series", shape=shape)
    study, site = make_study(task__modality="CT", task__classes=CLASSES), make_site(tmp_path)
    source, image = Source("dicom", tuple(paths)), read_series(paths, site.data)
    values = np.random.default_rng(1).integers(0, 3, image.shape).astype(np.uint8)
    values[..., 4] = 0  # a frame that is omitted
    write_prediction(
        values,
        image,
        source,
        study.task.classes,
        ModelOrigin("a", "1", "0" * 64),
        tmp_path / "own.dcm",
        kind=segmentation_type,
    )
    write_seg(tmp_path / "other.dcm", paths, {"liver": values == 1, "lesion": values == 2}, segmentation_type)
    for name in ("own.dcm", "other.dcm"):
        np.testing.assert_array_equal(read_seg(tmp_path / name, image, source, study, site)[0], values)


def test_damaged_objects_are_refused(make_seg_scene: Any) -> None:
    liver, _ = blocks()

    def truncate(ds: Any) -> None:
        ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]

    def reference_unknown_segment(ds: Any) -> None:
        ds.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7

    def remove_frame(ds: Any) -> None:
        ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:-1]

    def without(keyword: str) -> Any:
        def change(ds: Any) -> None:
            ds["PixelData"].VR = "OB"  # otherwise pydicom needs BitsAllocated
            delattr(ds, keyword)

        return change

    scene = make_seg_scene()
    for change in (
        truncate,
        reference_unknown_segment,
        remove_frame,
        *map(without, ("Rows", "Columns", "BitsAllocated", "PixelData", "SegmentSequence")),
    ):
        with pytest.raises(DataError, match="LBL-READ"):
            scene.read({"liver": liver}, change=change)


def test_segments_beyond_the_depth_of_a_labelmap_are_refused(make_seg_scene: Any) -> None:
    liver, _ = blocks()
    for change in (
        lambda ds: setattr(ds.SegmentSequence[0], "SegmentNumber", 300),
        lambda ds: setattr(ds, "BitsAllocated", 32),
    ):
        with pytest.raises(DataError, match="LBL-READ"):
            make_seg_scene().read({"liver": liver}, "LABELMAP", change=change)


def test_numbers_of_segments_above_255_do_not_wrap(make_seg_scene: Any) -> None:
    def renumber(ds: Any) -> None:
        for item in ds.SegmentSequence:
            item.SegmentNumber += 255  # 1 and 2 become 256 and 257
        for frame in ds.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber += 255

    def store_16_bits(ds: Any) -> None:
        stored = np.frombuffer(ds.PixelData, dtype=np.uint8).astype("<u2")
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = (stored + 255 * (stored > 0)).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        for item in ds.SegmentSequence:
            item.SegmentNumber += 255 * (item.SegmentNumber > 0)

    liver, lesion = blocks()
    for kind, change in (("BINARY", renumber), ("LABELMAP", store_16_bits)):
        mask = make_seg_scene().read({"liver": liver, "lesion": lesion}, kind, change=change)
        np.testing.assert_array_equal(mask, liver + 2 * lesion)


def test_stored_values_without_a_segment_are_refused(make_seg_scene: Any) -> None:
    liver, lesion = blocks()

    def remove_segment(ds: Any) -> None:
        ds.SegmentSequence = [item for item in ds.SegmentSequence if item.SegmentNumber != 2]

    with pytest.raises(DataError, match="LBL-VALUES"):
        make_seg_scene().read({"liver": liver, "lesion": lesion}, "LABELMAP", change=remove_segment)


def test_a_tilted_series_keeps_what_was_drawn_on_its_slices(make_seg_scene: Any) -> None:
    scene, (liver, lesion) = make_seg_scene(tilt=15.0, data={"gantry_tilt": "resample"}), blocks()
    assert scene.image.acquired_geometry is not None
    mask = scene.read({"liver": liver, "lesion": lesion})
    assert mask.shape == scene.image.shape != GRID
    np.testing.assert_array_equal(mask, resample_labels(liver + 2 * lesion, scene.image.acquired_geometry, scene.image))
