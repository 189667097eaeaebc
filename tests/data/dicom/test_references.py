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
from tests.data.dicom.drawing import in_order, write_rtstruct, write_seg
from tests.data.dicom.phantom import SHAPE, write

TRIANGLE = np.array([[0.0, 0, 30], [5, 0, 30], [0, 5, 30]])


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write(tmp_path / "series")


def uids(paths: list[Path]) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in paths}


def test_a_seg_says_what_it_was_drawn_on(tmp_path: Path, series: list[Path]) -> None:
    marked = np.zeros((*SHAPE[::-1], 10), dtype=np.uint8)
    marked[3:5, 3:5, 2:4] = 1
    drawn = read_references(write_seg(tmp_path / "seg.dcm", series, {"liver": marked}))
    assert (drawn.modality, drawn.images) == ("SEG", uids(series))
    assert drawn.frame_of_reference == pydicom.dcmread(series[0]).FrameOfReferenceUID

    def frames_only(ds: Any) -> None:
        del ds.ReferencedSeriesSequence

    drawn = read_references(write_seg(tmp_path / "sparse.dcm", series, {"liver": marked}, change=frames_only))
    assert drawn.images == {str(ds.SOPInstanceUID) for ds in in_order(series)[2:4]}


def test_an_rtstruct_says_it_in_two_places(tmp_path: Path, series: list[Path]) -> None:
    image = in_order(series)[0]
    region: dict[str, Any] = {"liver": [(TRIANGLE, image)]}
    drawn = read_references(write_rtstruct(tmp_path / "rt.dcm", series, region))
    assert (drawn.modality, drawn.images, drawn.frame_of_reference) == ("RTSTRUCT", uids(series), image.FrameOfReferenceUID)

    def contours_only(ds: Any) -> None:
        del ds.ReferencedFrameOfReferenceSequence
        ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"

    drawn = read_references(write_rtstruct(tmp_path / "rt2.dcm", series, region, change=contours_only))
    assert (drawn.images, drawn.frame_of_reference) == ({str(image.SOPInstanceUID)}, "1.2.3")


def test_what_is_no_label_is_refused(tmp_path: Path, series: list[Path]) -> None:
    (tmp_path / "text.dcm").write_text("CANARY")
    for path in (series[0], tmp_path / "text.dcm", tmp_path / "gone.dcm"):
        with pytest.raises(DataError, match="LBL-READ") as caught:
            read_references(path)
        assert "CANARY" not in str(caught.value)


def test_a_file_without_preamble_is_read_when_asked(tmp_path: Path, series: list[Path]) -> None:
    whole = write_rtstruct(tmp_path / "rt.dcm", series, {"liver": [(TRIANGLE, None)]})
    dataset = pydicom.dcmread(whole)
    bare = tmp_path / "bare.dcm"
    pydicom.Dataset({elem.tag: elem for elem in dataset}).save_as(bare, implicit_vr=True, little_endian=True)
    with pytest.raises(DataError, match="LBL-READ"):
        read_references(bare)
    assert read_references(bare, force=True).images == uids(series)


def test_an_image_that_was_registered_is_listed_and_not_drawn_on(tmp_path: Path, series: list[Path]) -> None:
    image = in_order(series)[0]
    own = str(image.FrameOfReferenceUID)

    def registered(rt: Any, drawn_on_it: bool) -> None:
        listed = deepcopy(rt.ReferencedFrameOfReferenceSequence[0])
        listed.FrameOfReferenceUID = "1.9"
        (inner,) = listed.RTReferencedStudySequence[0].RTReferencedSeriesSequence
        inner.ContourImageSequence = inner.ContourImageSequence[:2]
        for n, item in enumerate(inner.ContourImageSequence):
            item.ReferencedSOPInstanceUID = f"1.9.{n}"
        rt.ReferencedFrameOfReferenceSequence.append(listed)
        for n, region in enumerate(rt.StructureSetROISequence):
            region.ReferencedFrameOfReferenceUID = "1.9" if n and drawn_on_it else own

    regions: dict[str, Any] = {"liver": [(TRIANGLE, image)], "lesion": [(TRIANGLE, None)]}
    drawn = read_references(write_rtstruct(tmp_path / "a.dcm", series, regions, change=lambda rt: registered(rt, False)))
    assert (drawn.images, drawn.frame_of_reference) == (uids(series), own)
    check_references(drawn, uids(series), own, SiteData())
    drawn = read_references(write_rtstruct(tmp_path / "b.dcm", series, regions, change=lambda rt: registered(rt, True)))
    assert drawn.images_in(own) == uids(series)
    assert drawn.images_in("1.9") == {"1.9.0", "1.9.1"}
    check_references(drawn, uids(series), own, SiteData())
    check_references(drawn, {"1.9.0", "1.9.1"}, "1.9", SiteData())
    with pytest.raises(DataError, match=r"LBL-WRONG-SERIES.*another frame"):
        check_references(drawn, uids(series), "1.8", SiteData())


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
def test_a_label_belongs_to_the_series_it_refers_to(images: set[str], frame: str, match: Any, code: str) -> None:
    drawn, how = LabelReferences(Path(), "SEG", frozenset({"1", "2"}), "F"), SiteData(label_match=match)
    if not code:
        check_references(drawn, images, frame, how)
        return
    with pytest.raises(DataError) as caught:
        check_references(drawn, images, frame, how)
    assert caught.value.code == code
    assert ("label-match" in caught.value.fix) == (code == "LBL-WRONG-SERIES" and frame == "F")
