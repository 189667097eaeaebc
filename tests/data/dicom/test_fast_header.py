"""Fast reader of headers: it finds what pydicom finds, and leaves unusual files to pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from medfl.data.dicom import headers
from medfl.data.dicom.fast_header import scan_header
from medfl.data.dicom.headers import probe_file, read_header

EXAMPLES = sorted(
    path
    for path in (Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")
    if path.is_file() and path.suffix != ".py"
)


def _parse(path: Path) -> dict[str, Any]:
    with path.open("rb", buffering=0) as file:
        return dict(headers._parse_header(file))


def test_the_fast_reader_finds_what_pydicom_finds_in_its_own_examples() -> None:
    compared = 0
    for path in EXAMPLES:
        probed = probe_file(path)
        if probed.kind == "dicom":
            assert dict(probed.values) == _parse(path), path.name
            compared += 1
    assert compared > 50


@pytest.mark.realdata
def test_the_fast_reader_finds_what_pydicom_finds_in_real_files(real_data: Path) -> None:
    paths = [path for path in (real_data / "dicom").rglob("*") if path.is_file()]
    for path in paths:
        probed = probe_file(path)
        assert probed.kind != "dicom" or dict(probed.values) == _parse(path)


@pytest.fixture
def slice_file(tmp_path: Path, write_series: Any) -> Path:
    """Return one slice with a sequence and non-ASCII text."""

    def change(_: int, ds: Any) -> None:
        ds.SpecificCharacterSet, ds.PatientID, ds.EchoTime = "ISO_IR 192", "Müller-1", "4.60"
        item, inner = Dataset(), Dataset()
        inner.CodeValue = "1"
        item.PurposeOfReferenceCodeSequence = Sequence([inner])
        ds.ReferencedImageSequence = Sequence([item, Dataset()])

    path: Path = write_series(tmp_path / "series", change, count=1)[0]
    return path


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_every_encoding_gives_the_same_values(slice_file: Path, tmp_path: Path, syntax: Any, undefined: bool) -> None:
    expected = dict(probe_file(slice_file).values)
    assert (expected["PatientID"], expected["EchoTime"], expected["Rows"]) == ("Müller-1", "4.60", "5")
    dataset = pydicom.dcmread(slice_file)
    if undefined:
        dataset["ReferencedImageSequence"].is_undefined_length = True
        dataset.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset["PixelData"].VR = "OW"
    reencoded = tmp_path / "reencoded.dcm"
    pydicom.dcmwrite(reencoded, dataset, enforce_file_format=True)
    header = read_header(reencoded)
    assert header is not None
    assert header.values == expected


def test_plain_files_do_not_need_pydicom(tmp_path: Path, write_series: Any) -> None:
    path = write_series(tmp_path, count=1)[0]
    values: dict[str, Any] = {}
    assert scan_header(path.read_bytes(), headers._WANTED_TAGS, values)
    assert values["SOPInstanceUID"] == pydicom.dcmread(path).SOPInstanceUID
    # the end of the bytes is not the end of the header
    assert not scan_header(path.read_bytes()[:400], headers._WANTED_TAGS, {})


def test_an_invalid_number_is_an_error_for_whoever_reads_it(tmp_path: Path, write_series: Any) -> None:
    path = write_series(tmp_path, lambda k, ds: setattr(ds, "EchoTime", "1234"), count=1)[0]
    path.write_bytes(path.read_bytes().replace(b"DS\x04\x001234", b"DS\x04\x001x34"))
    header = read_header(path)
    assert header is not None
    with pytest.raises(ValueError, match="not a decimal"):
        header.numbers("EchoTime")


def test_files_without_preamble_are_read_only_when_forced(tmp_path: Path, write_series: Any) -> None:
    path = write_series(tmp_path, count=1)[0]
    path.write_bytes(path.read_bytes()[132:])
    assert read_header(path) is None
    forced = read_header(path, force=True)
    assert forced is not None
    assert forced.patient == "CANARY-MRN"


@pytest.mark.parametrize(
    "content", [b"", b"DICM", b"{}" * 100, bytes(132), bytes(128) + b"DICM", b"\x08\x00\x05\x00CS\x02\x00"]
)
def test_other_files_are_not_dicom_even_when_forced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_header(path, force=True) is None
    assert read_header(tmp_path / "gone") is None


def test_a_damaged_header_still_gives_its_series(tmp_path: Path, write_series: Any) -> None:
    path = write_series(tmp_path, lambda k, ds: setattr(ds, "SOPInstanceUID", ""), count=1)[0]
    uid = pydicom.dcmread(path).SeriesInstanceUID
    data = path.read_bytes()
    path.write_bytes(data[: data.index(uid.encode()) + 80])
    probed = probe_file(path)
    assert (probed.kind, probed.values["SeriesInstanceUID"]) == ("damaged", uid)


@pytest.mark.parametrize(
    ("character_set", "text", "fast"),
    [
        ("ISO_IR 100", "Schädel nativ", True),
        ("ISO_IR 192", "頭部 CT", True),
        (None, "Head", True),
        ("ISO_IR 144", "Голова", False),
        (["", "ISO 2022 IR 87"], "頭部", False),
    ],
)
def test_text_of_common_character_sets_is_read_without_pydicom(
    slice_file: Path, character_set: Any, text: str, fast: bool
) -> None:
    dataset = pydicom.dcmread(slice_file)
    dataset.SpecificCharacterSet, dataset.PatientID, dataset.SeriesDescription = character_set, "P1", text
    dataset.PatientName = "A"
    dataset.save_as(slice_file)
    values: dict[str, Any] = {}
    assert scan_header(slice_file.read_bytes(), headers._WANTED_TAGS, values) is fast
    assert dict(probe_file(slice_file).values) == _parse(slice_file)
    assert _parse(slice_file)["SeriesDescription"] == text
    assert "SpecificCharacterSet" not in values
