"""References of SEG and RTSTRUCT to the images that they were drawn on."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medfl.data.dicom.references import LabelReferences, check_references, read_references
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.drawing import sort_by_position, write_rtstruct, write_seg
from tests.data.dicom.phantom import SHAPE, write_slices

TRIANGLE = np.array([[0.0, 0, 30], [5, 0, 30], [0, 5, 30]])


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write_slices(tmp_path / "series")


def uids(paths: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in paths}


def test_a_seg_references_its_images(tmp_path: Path, series: list[Path]) -> None:
    liver = np.zeros((*SHAPE[::-1], 10), dtype=np.uint8)
    liver[3:5, 3:5, 2:4] = 1
    references = read_references(write_seg(tmp_path / "seg.dcm", series, {"liver": liver}))
    assert (references.modality, references.images) == ("SEG", uids(series))
    assert references.frame_of_reference == pydicom.dcmread(series[0]).FrameOfReferenceUID

    def frames_only(ds: Any) -> None:
        del ds.ReferencedSeriesSequence

    references = read_references(write_seg(tmp_path / "sparse.dcm", series, {"liver": liver}, change=frames_only))
    assert references.images == {str(ds.SOPInstanceUID) for ds in sort_by_position(series)[2:4]}


def test_an_rtstruct_references_its_images_in_two_places(tmp_path: Path, series: list[Path]) -> None:
    image = sort_by_position(series)[0]
    rois: dict[str, Any] = {"liver": [(TRIANGLE, image)]}
    references = read_references(write_rtstruct(tmp_path / "rt.dcm", series, rois))
    assert (references.modality, references.images, references.frame_of_reference) == (
        "RTSTRUCT",
        uids(series),
        image.FrameOfReferenceUID,
    )

    def contours_only(ds: Any) -> None:
        del ds.ReferencedFrameOfReferenceSequence
        ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"

    references = read_references(write_rtstruct(tmp_path / "rt2.dcm", series, rois, change=contours_only))
    assert (references.images, references.frame_of_reference) == ({str(image.SOPInstanceUID)}, "1.2.3")


def test_files_that_are_not_labels_are_refused(tmp_path: Path, series: list[Path]) -> None:
    (tmp_path / "text.dcm").write_text("CANARY")
    for path in (series[0], tmp_path / "text.dcm", tmp_path / "gone.dcm"):
        with pytest.raises(DataError, match="LBL-READ") as caught:
            read_references(path)
        assert "CANARY" not in str(caught.value)


def test_a_file_without_preamble_is_read_when_forced(tmp_path: Path, series: list[Path]) -> None:
    with_preamble = write_rtstruct(tmp_path / "rt.dcm", series, {"liver": [(TRIANGLE, None)]})
    dataset = pydicom.dcmread(with_preamble)
    without_preamble = tmp_path / "without.dcm"
    pydicom.Dataset({elem.tag: elem for elem in dataset}).save_as(without_preamble, implicit_vr=True, little_endian=True)
    with pytest.raises(DataError, match="LBL-READ"):
        read_references(without_preamble)
    assert read_references(without_preamble, force=True).images == uids(series)


def test_a_registered_image_is_listed_without_being_drawn_on(tmp_path: Path, series: list[Path]) -> None:
    image = sort_by_position(series)[0]
    frame_of_reference = str(image.FrameOfReferenceUID)

    def registered(rt: Any, drawn_on_it: bool) -> None:
        other_frame = deepcopy(rt.ReferencedFrameOfReferenceSequence[0])
        other_frame.FrameOfReferenceUID = "1.9"
        (series_item,) = other_frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
        series_item.ContourImageSequence = series_item.ContourImageSequence[:2]
        for n, item in enumerate(series_item.ContourImageSequence):
            item.ReferencedSOPInstanceUID = f"1.9.{n}"
        rt.ReferencedFrameOfReferenceSequence.append(other_frame)
        for n, rois in enumerate(rt.StructureSetROISequence):
            rois.ReferencedFrameOfReferenceUID = "1.9" if n and drawn_on_it else frame_of_reference

    regions: dict[str, Any] = {"liver": [(TRIANGLE, image)], "lesion": [(TRIANGLE, None)]}
    references = read_references(write_rtstruct(tmp_path / "a.dcm", series, regions, change=lambda rt: registered(rt, False)))
    assert (references.images, references.frame_of_reference) == (uids(series), frame_of_reference)
    check_references(references, uids(series), frame_of_reference, SiteData())
    references = read_references(write_rtstruct(tmp_path / "b.dcm", series, regions, change=lambda rt: registered(rt, True)))
    assert references.images_in(frame_of_reference) == uids(series)
    assert references.images_in("1.9") == {"1.9.0", "1.9.1"}
    check_references(references, uids(series), frame_of_reference, SiteData())
    check_references(references, {"1.9.0", "1.9.1"}, "1.9", SiteData())
    with pytest.raises(DataError, match=r"LBL-WRONG-SERIES.*another frame"):
        check_references(references, uids(series), "1.8", SiteData())


@pytest.mark.parametrize(
    ("images", "frame", "match", "code"),
    [
        ({"1", "2"}, "F", "references", ""),
        ({"1", "2", "3"}, "", "references", ""),
        ({"1", "2", "3"}, "other", "references", "LBL-WRONG-SERIES"),
        ({"1"}, "F", "frame-of-reference", "LBL-PARTIAL-REF"),
        ({"8", "9"}, "F", "references", "LBL-WRONG-SERIES"),
        ({"8", "9"}, "F", "frame-of-reference", ""),
        ({"8", "9"}, "G", "frame-of-reference", "LBL-WRONG-SERIES"),
        ({"8", "9"}, "", "frame-of-reference", "LBL-WRONG-SERIES"),
    ],
)
def test_a_label_belongs_to_the_series_it_references(images: set[str], frame: str, match: Any, code: str) -> None:
    references, settings = LabelReferences(Path(), "SEG", frozenset({"1", "2"}), "F"), SiteData(label_match=match)
    if not code:
        check_references(references, images, frame, settings)
        return
    with pytest.raises(DataError) as caught:
        check_references(references, images, frame, settings)
    assert caught.value.code == code
    assert ("label-match" in caught.value.fix) == (code == "LBL-WRONG-SERIES" and frame == "F")
