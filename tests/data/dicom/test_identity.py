"""Images that lack a UID, a SOP class or a modality: read where nothing needs it, else said for what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from medfl.data.dicom.headers import probe_file, read_header
from medfl.data.dicom.image import read_dicom_image
from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError
from tests.data.dicom.phantom import Change, error_of, write_slices
from tests.data.dicom.writing import put


def write_without(folder: Path, *keywords: str, index: int | None = None, change: Change = lambda k, ds: None) -> list[Path]:
    """Write a series that lacks attributes, which pydicom would not write."""
    paths = write_slices(folder, change=change)
    for k, path in enumerate(paths):
        if index in (None, k):
            ds = pydicom.dcmread(path)
            for keyword in keywords:
                delattr(ds, keyword)
            if "SOPInstanceUID" in keywords:
                del ds.file_meta.MediaStorageSOPInstanceUID
            ds.save_as(path)
    return paths


def test_images_without_sop_instance_uid_are_read(tmp_path: Path) -> None:
    paths = write_without(tmp_path, "SOPInstanceUID")
    volume = read_series(paths)
    assert error_of(volume.array[0], LPS_TO_RAS @ volume.affine).max() < 0.6
    assert [warning.code for warning in volume.warnings] == ["DCM-NO-UID"]
    assert "10 image(s)" in volume.warnings[0].what
    image = read_dicom_image(paths[0])
    assert image.array.max() > 400
    assert [warning.code for warning in image.warnings] == ["DCM-NO-UID"]


def test_an_empty_sop_instance_uid_is_one_that_is_missing(tmp_path: Path) -> None:
    paths = write_slices(tmp_path)
    for path in paths[:3]:
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ""
        ds.save_as(path)
    (warning,) = read_series(paths).warnings
    assert "3 image(s)" in warning.what


@pytest.mark.parametrize("keyword", ["SOPClassUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"])
def test_other_attributes_may_be_missing_throughout(tmp_path: Path, keyword: str) -> None:
    paths = write_without(tmp_path, keyword)
    volume = read_series(paths)
    assert error_of(volume.array[0], LPS_TO_RAS @ volume.affine).max() < 0.6
    assert probe_file(paths[0]).kind == "dicom"


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_one_image_that_does_not_say_its_series_is_named(tmp_path: Path, keyword: str) -> None:
    with pytest.raises(DataError, match="DCM-HEADER") as caught:
        read_series(write_without(tmp_path, keyword, index=4))
    assert f"{keyword} is missing in 1 of 10 images" in caught.value.what


@pytest.mark.parametrize(("sop_class", "modality"), [(None, "CT"), (MRImageStorage, "MR"), (SecondaryCaptureImageStorage, "")])
def test_a_missing_modality_is_that_of_the_sop_class(tmp_path: Path, sop_class: Any, modality: str) -> None:
    (path, *_) = write_without(tmp_path, "Modality", change=put(SOPClassUID=sop_class) if sop_class else put())
    header = read_header(path)
    assert header is not None
    assert header.text("Modality") == modality


def test_headers_that_need_the_full_parser_lack_a_uid_too(tmp_path: Path) -> None:
    (path, *_) = write_without(tmp_path, "SOPInstanceUID", change=put(SpecificCharacterSet="ISO_IR 100", Manufacturer="Maß"))
    assert probe_file(path).kind == "dicom"
    assert read_dicom_image(path).array.max() > 400


def test_a_file_that_ends_in_its_header_stays_damaged(tmp_path: Path) -> None:
    (path, *_) = write_without(tmp_path, "SOPInstanceUID")
    data = path.read_bytes()
    for length in (140, 300, 500):
        path.write_bytes(data[:length])
        assert probe_file(path).kind == "damaged"


def test_identical_copies_without_sop_instance_uid_are_copies(tmp_path: Path) -> None:
    paths = write_without(tmp_path, "SOPInstanceUID")
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(paths[3].read_bytes())
    volume = read_series([*paths, copy])
    assert volume.shape[-1] == 10
    assert sorted(warning.code for warning in volume.warnings) == ["DCM-DUP-COPY", "DCM-NO-UID"]
