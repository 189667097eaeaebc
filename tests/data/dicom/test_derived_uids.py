"""UIDs of what medfl writes: the same prediction is one object for a PACS, and another prediction is another."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.cases import Source
from medfl.data.dicom.seg_writing import make_seg, source_planes
from medfl.data.prediction_reports import write_report
from medfl.data.predictions import ModelOrigin
from medfl.site import SiteData
from tests.data.dicom.phantom import SHAPE, write_slices

MODEL = ("liver", "1", "ab" * 32)
TIMES = ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime")
MAKING = ("ContributingEquipmentSequence",)  # of highdicom, with the time
Labels = list[NDArray[np.uint8]]


def marked(count: int = 10, value: int = 1) -> Labels:
    planes = [np.zeros(SHAPE[::-1], dtype=np.uint8) for _ in range(count)]
    planes[4][2:5, 3:7] = value
    return planes


def seg_of(folder: Path, labels: Labels, model: tuple[str, str, str] = MODEL, kind: str = "BINARY") -> Dataset:
    source = Source("dicom", tuple(sorted(folder.glob("*.dcm"))))
    headers, _, _ = source_planes(source, SiteData())
    return pydicom.dcmread(BytesIO(make_seg(headers, labels, ("background", "liver"), model, kind, SiteData())))


def without_times(dataset: Dataset) -> str:
    for keyword in (*TIMES, *MAKING):
        dataset.pop(keyword, None)
    return dataset.to_json()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_same_mask_is_the_same_object(kind: str, tmp_path: Path) -> None:
    write_slices(tmp_path)
    first, second = (seg_of(tmp_path, marked(), kind=kind) for _ in range(2))
    assert (first.SOPInstanceUID, first.SeriesInstanceUID) == (second.SOPInstanceUID, second.SeriesInstanceUID)
    assert first.SOPInstanceUID != first.SeriesInstanceUID
    assert without_times(first) == without_times(second)


def test_whatever_differs_makes_another_object(tmp_path: Path) -> None:
    write_slices(tmp_path / "one")
    write_slices(tmp_path / "two")
    less = marked()
    less[4][2, 3] = 0
    makers: list[Callable[[], Dataset]] = [
        lambda: seg_of(tmp_path / "one", marked()),
        lambda: seg_of(tmp_path / "one", less),
        lambda: seg_of(tmp_path / "one", marked(), ("liver", "1", "cd" * 32)),
        lambda: seg_of(tmp_path / "one", marked(), kind="LABELMAP"),
        lambda: seg_of(tmp_path / "two", marked()),
    ]
    made = [maker() for maker in makers]
    assert len({one.SOPInstanceUID for one in made}) == len({one.SeriesInstanceUID for one in made}) == len(makers)


def test_the_same_report_is_the_same_object(tmp_path: Path) -> None:
    write_slices(tmp_path / "series")
    source = Source("dicom", tuple(sorted((tmp_path / "series").glob("*.dcm"))))

    def report(share: float) -> Dataset:
        path = tmp_path / "report.dcm"
        write_report({"healthy": 1 - share, "ill": share}, source, ModelOrigin(*MODEL), path, SiteData())
        return pydicom.dcmread(path)

    first, second, other = report(0.75), report(0.75), report(0.5)
    assert first.SOPInstanceUID == second.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != other.SeriesInstanceUID
    assert without_times(first) == without_times(second)
