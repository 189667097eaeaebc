"""Deflated files, and headers that declare more than a site reads."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from medfl.data.dicom import parsing
from medfl.data.dicom.headers import probe_file, read_header
from medfl.data.dicom.image import read_dicom_image
from medfl.data.dicom.masks import read_dicom_mask
from medfl.data.dicom.parsing import parse_file
from medfl.data.dicom.series import read_series
from medfl.data.index.file_facts import probe_facts
from medfl.errors import DataError
from medfl.site import SiteData

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)


def image_of(**values: Any) -> Dataset:
    """Return an image of 6 rows and 8 columns."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "Modality": "DX",
        "PatientID": "A",
        "Rows": 6,
        "Columns": 8,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BurnedInAnnotation": "NO",
    }
    for keyword, value in (plain | values).items():
        setattr(dataset, keyword, value)
    dataset.add_new("PixelData", "OW", PIXELS.tobytes())
    return dataset


def write(path: Path, dataset: Dataset, more: int = 0) -> Path:
    """Write a file; `more` bytes of a private element follow its pixels."""
    if more:
        dataset.add_new(0x7FE10010, "LO", "MEDFL")
        dataset.add_new(0x7FE11001, "OB", bytes(more))
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def short_headers(monkeypatch: pytest.MonkeyPatch) -> int:
    """Take for a header what is one in this small world; return bytes that are far more than that."""
    monkeypatch.setattr(parsing, "_MAX_HEADER", 2**16)
    return 2**24


def code_of(read: Any, *arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(*arguments)
    return caught.value.code


def traced(read: Any, *arguments: Any) -> tuple[Any, int]:
    tracemalloc.start()
    try:
        return read(*arguments), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_deflated_image_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a", image_of())
    np.testing.assert_array_equal(read_dicom_image(path).array[0], PIXELS.T)
    np.testing.assert_array_equal(read_dicom_mask(path)[0], PIXELS.T)
    header = read_header(path)
    assert header is not None
    assert (header.text("Rows"), header.text("Columns"), header.patient) == ("6", "8", "A")
    assert parse_file(path, stop_before_pixels=True).get("PixelData") is None
    assert parse_file(path, specific_tags=["Modality"]).get("Rows") is None


def test_a_deflated_image_without_preamble_is_read_where_the_site_allows_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a", image_of())
    path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_dicom_image(path, SiteData(allow_headerless=True)).array[0], PIXELS.T)


@pytest.mark.usefixtures("short_headers")
def test_a_deflated_image_of_more_bytes_than_a_header_is_read(tmp_path: Path) -> None:
    dataset = image_of(Rows=600, Columns=600)
    dataset.PixelData = np.full((600, 600), 7, np.uint16).tobytes()
    volume = read_dicom_image(write(tmp_path / "a", dataset))
    assert volume.shape == (600, 600)
    assert (volume.array == 7).all()


def test_file_meta_information_that_pydicom_alone_understands_hides_no_deflated_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a", image_of())
    content = path.read_bytes()
    syntax = DeflatedExplicitVRLittleEndian.encode()
    plain = ExplicitVRLittleEndian.encode() + b"\0"
    first = b"\x02\0\x10\0UI" + len(plain).to_bytes(2, "little") + plain
    place = content.index(b"\x02\0\x10\0UI")
    assert content[place + 8 :].startswith(syntax)
    doubled = content[:place] + first + content[place:]  # a syntax that is not deflated, and then one that is
    path.write_bytes(doubled)
    np.testing.assert_array_equal(read_dicom_image(path).array[0], PIXELS.T)
    assert parse_file(path).file_meta.TransferSyntaxUID == syntax.decode()


def test_what_goes_on_behind_the_pixels_is_not_inflated(tmp_path: Path, short_headers: int) -> None:
    path = write(tmp_path / "a", image_of(), more=short_headers)  # 16 KB hold 16 MB
    code, peak = traced(code_of, read_dicom_image, path)
    assert code == "DCM-PIXELS"
    assert peak < short_headers / 2
    facts, peak = traced(probe_facts, str(path))
    assert facts.kind == "dicom"
    assert peak < short_headers / 2


def test_more_pixels_than_the_site_reads_are_not_inflated(tmp_path: Path, short_headers: int) -> None:
    dataset = image_of(Rows=20000, Columns=20000)
    dataset.PixelData = bytes(short_headers)
    path = write(tmp_path / "a", dataset)
    for read in (read_dicom_image, read_dicom_mask, parse_file):
        code, peak = traced(code_of, read, path)
        assert code == "IMG-LARGE"
        assert peak < short_headers / 2


def test_a_header_without_end_is_damaged(tmp_path: Path, short_headers: int) -> None:
    dataset = image_of()
    dataset.add_new(0x00091001, "OB", bytes(short_headers))
    del dataset.PixelData
    path = write(tmp_path / "a", dataset)
    with pytest.raises(ValueError, match="longer"):
        parse_file(path, stop_before_pixels=True)
    assert code_of(read_dicom_image, path) in ("DCM-TRUNCATED", "DCM-SOPCLASS", "DCM-READ")
    assert probe_file(path).kind == "damaged"


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_deflated_file_that_is_cut_is_refused(tmp_path: Path, cut: int) -> None:
    dataset = image_of()
    dataset.PixelData = np.random.default_rng(0).integers(0, 9999, (6, 8)).astype(np.uint16).tobytes()
    path = write(tmp_path / "a", dataset)
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-cut])
    assert code_of(read_dicom_image, path) in ("DCM-TRUNCATED", "DCM-READ")


def test_a_deflated_stream_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", image_of())
    content = path.read_bytes()
    start = content.index(DeflatedExplicitVRLittleEndian.encode()) + 60
    path.write_bytes(content[:start] + b"\xff" * 8 + content[start + 8 :])
    assert code_of(read_dicom_image, path) in ("DCM-TRUNCATED", "DCM-READ")


@pytest.mark.parametrize(
    ("values", "limit"),
    [({"Rows": 65535, "Columns": 65535}, "max-megapixels"), ({"NumberOfFrames": 20_000_000}, "max-megavoxels")],
)
def test_declared_sizes_are_held_against_the_ceiling_of_the_site(tmp_path: Path, values: dict[str, Any], limit: str) -> None:
    ct = {"SOPClassUID": CTImageStorage, "Modality": "CT", "PixelSpacing": [1, 1]}
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}
    dataset = image_of(**ct, **place, **values)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = write(tmp_path / "a", dataset)
    for read in (read_series, read_dicom_image):
        argument: Any = [path] if read is read_series else path
        with pytest.raises(DataError, match=f"IMG-LARGE.*{limit}"):
            read(argument)


def test_many_slices_are_counted_together(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, number], "PixelSpacing": [1, 1]}
        dataset = image_of(SOPClassUID=CTImageStorage, Modality="CT", SeriesInstanceUID="1.2", StudyInstanceUID="1.1", **place)
        dataset.Rows = dataset.Columns = 300
        dataset.PixelData = np.full((300, 300), number, np.uint16).tobytes()
        paths.append(write(tmp_path / str(number), dataset))
    with pytest.raises(DataError, match=r"IMG-LARGE.*300 x 300 x 12 voxels"):
        read_series(paths, SiteData(max_megavoxels=1))
    assert read_series(paths, SiteData(max_megavoxels=2)).array[0, 0, 0].tolist() == list(range(12))
