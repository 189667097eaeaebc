"""Series of several volumes at the same positions: what tells them apart, and the selection of one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedMRImageStorage, ImplicitVRLittleEndian

from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError
from tests.data.dicom.phantom import Change, encode_pixels, error_of, slice_values, stack, write_enhanced, write_slices
from tests.data.dicom.writing import both, each, put, repeated

MR = put(Modality="MR")


def brighter(k: int, ds: Any) -> None:
    """Make each volume 100 units brighter than the one before."""
    ds.PixelData = encode_pixels(slice_values(np.array(ds.ImagePositionPatient, float)) + 100 * (k // 10))


def check_selected(paths: list[Path], select: str, volume: int) -> None:
    image = read_series(paths, select=select)
    assert error_of(image.array[0] - 100 * volume, LPS_TO_RAS @ image.affine).max() < 0.6


def refusal(paths: list[Path], select: str = "") -> str:
    with pytest.raises(DataError, match="DCM-MULTIVOLUME") as caught:
        read_series(paths, select=select)
    return str(caught.value)


def private(group: int, creator: str, element: int, vr: str, value: Any) -> Change:
    return lambda k, ds: ds.private_block(group, creator, create=True).add_new(element, vr, value(k // 10))


VENDORS = {
    "Siemens": private(0x0019, "SIEMENS MR HEADER", 0x0C, "IS", lambda volume: (50, 400, 800)[volume]),
    "Siemens, form lost": private(0x0019, "SIEMENS MR HEADER", 0x0C, "UN", lambda volume: (b"50", b"400 ", b"800 ")[volume]),
    "GE": private(0x0043, "GEMS_PARM_01", 0x39, "IS", lambda volume: [(50, 1000000400, 1000000800)[volume], 8, 0, 0]),
    "Philips": private(0x2001, "Philips Imaging DD 001", 0x03, "FL", lambda volume: (50.0, 400.0, 800.0)[volume]),
    "Philips, form lost": private(
        0x2001, "Philips Imaging DD 001", 0x03, "UN", lambda volume: struct.pack("<f", (50.0, 400.0, 800.0)[volume])
    ),
    "United Imaging": private(0x0065, "Image Private Header", 0x09, "FD", lambda volume: (50.0, 400.0, 800.0)[volume]),
}


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=list(VENDORS))
def test_private_b_values_are_b_values(tmp_path: Path, vendor: Change) -> None:
    paths = write_slices(tmp_path, repeated(3), both(MR, vendor, brighter))
    assert "3 volumes that differ in DiffusionBValue (50, 400, 800)" in refusal(paths)
    check_selected(paths, "DiffusionBValue=400", 1)
    with pytest.raises(DataError, match="Available are 50, 400, 800"):
        read_series(paths, select="DiffusionBValue=1000")


def test_private_attributes_of_another_creator_are_not_b_values(tmp_path: Path) -> None:
    other = private(0x0019, "SOMEBODY ELSE", 0x0C, "IS", lambda volume: (50, 400, 800)[volume])
    paths = write_slices(tmp_path, repeated(3), both(MR, other))
    with pytest.raises(DataError, match="DCM-DUP-POSITION"):
        read_series(paths)


def test_private_b_values_are_found_without_explicit_representations(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, repeated(3), both(MR, VENDORS["GE"], brighter))
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        ds.save_as(path, implicit_vr=True, little_endian=True)
    check_selected(paths, "DiffusionBValue=800", 2)


@pytest.mark.parametrize(
    ("change", "says", "select"),
    [
        (each("EchoNumbers", lambda k: 1 + k // 10), "EchoNumbers (1, 2, 3)", "EchoNumbers=2"),
        (each("AcquisitionTime", lambda k: f"10{k // 10:02}00"), "AcquisitionTime.", "AcquisitionTime=#2"),
        (
            each("AcquisitionDateTime", lambda k: f"2024010{1 + k // 10}100000"),
            "AcquisitionDateTime.",
            "AcquisitionDateTime=#2",
        ),
        (each("ContentTime", lambda k: f"09{k // 10:02}"), "ContentTime.", "ContentTime=0901"),
        (
            each("NominalPercentageOfCardiacPhase", lambda k: (10.0, 50.0, 90.0)[k // 10]),
            "(10.0, 50.0, 90.0)",
            "NominalPercentageOfCardiacPhase=50",
        ),
        (
            each("ImageTriggerDelay", lambda k: (10, 50, 90)[k // 10]),
            "ImageTriggerDelay (10.0, 50.0, 90.0)",
            "ImageTriggerDelay=50",
        ),
        (
            each("ContrastBolusAgent", lambda k: ("", "CANARY 1", "CANARY 2")[k // 10]),
            "ContrastBolusAgent.",
            "ContrastBolusAgent=#2",
        ),
        (each("SequenceName", lambda k: f"*ep_b{k // 10}"), "SequenceName.", "SequenceName=*ep_b1"),
        (
            each("FrameReferenceTime", lambda k: 1000 * (k // 10)),
            "FrameReferenceTime (0.0, 1000.0, 2000.0)",
            "FrameReferenceTime=1000",
        ),
        (
            each("DiffusionGradientOrientation", lambda k: np.eye(3)[k // 10].tolist()),
            "DiffusionGradientOrientation.",
            "DiffusionGradientOrientation=#2",
        ),
        (each("SeriesDescription", lambda k: f"CANARY {k // 10}"), "SeriesDescription.", "SeriesDescription=CANARY 1"),
        (each("ProtocolName", lambda k: f"CANARY {k // 10}"), "ProtocolName.", "ProtocolName=#2"),
        (each("SliceThickness", lambda k: 1 + k // 10), "SliceThickness (1.0, 2.0, 3.0)", "SliceThickness=2"),
        (
            each("DiffusionBValue", lambda k: (0.0, 500.0, 800.0)[k // 10]),
            "DiffusionBValue (0.0, 500.0, 800.0)",
            "DiffusionBValue=#2",
        ),
    ],
)
def test_attributes_that_tell_volumes_apart(tmp_path: Path, change: Change, says: str, select: str) -> None:
    paths = write_slices(tmp_path, repeated(3), both(change, brighter))
    message = refusal(paths)
    assert "3 volumes that differ in" in message
    assert says in message
    assert "CANARY" not in message
    check_selected(paths, select, 1)


def test_an_attribute_that_some_images_lack(tmp_path: Path) -> None:
    def b_value(k: int, ds: Any) -> None:
        if k >= 10:
            ds.DiffusionBValue = 500.0 * (k // 10)

    paths = write_slices(tmp_path, repeated(3), both(MR, b_value, brighter))
    assert "DiffusionBValue (500.0, 1000.0, or none)" in refusal(paths)
    check_selected(paths, "DiffusionBValue=none", 0)
    check_selected(paths, "DiffusionBValue=#1", 0)
    check_selected(paths, "DiffusionBValue=1000", 2)


def test_each_image_with_its_own_time(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, repeated(3), both(each("AcquisitionTime", lambda k: f"1000{10 + k}.5"), brighter))
    message = refusal(paths)
    assert "3 volumes that differ in AcquisitionTime." in message
    assert "1000" not in message
    for number in range(3):
        check_selected(paths, f"AcquisitionTime=#{number + 1}", number)
    with pytest.raises(DataError, match=r"INDEX-SELECT.*AcquisitionTime=#1 is the first of 3"):
        read_series(paths, select="AcquisitionTime=#4")


def test_volumes_of_different_length(tmp_path: Path) -> None:
    positions = [*stack(), *stack(8)]
    paths = write_slices(tmp_path, positions, both(each("AcquisitionNumber", lambda k: 1 + k // 10), brighter))
    assert "2 volumes that differ in AcquisitionNumber (1, 2)" in refusal(paths)
    check_selected(paths, "AcquisitionNumber=2", 1)
    assert read_series(paths, select="AcquisitionNumber=2").shape == (20, 24, 8)


@pytest.mark.parametrize(
    ("groups", "says", "select"),
    [
        (
            lambda k: {"MRImageFrameTypeSequence": {"ComplexImageComponent": ("MAGNITUDE", "PHASE")[k % 2]}},
            "ComplexImageComponent",
            "ComplexImageComponent=PHASE",
        ),
        (
            lambda k: {"CardiacSynchronizationSequence": {"NominalPercentageOfCardiacPhase": (30.0, 75.0)[k % 2]}},
            "(30.0, 75.0)",
            "NominalPercentageOfCardiacPhase=75",
        ),
        (
            lambda k: {"RespiratorySynchronizationSequence": {"NominalPercentageOfRespiratoryPhase": (0.0, 50.0)[k % 2]}},
            "(0.0, 50.0)",
            "NominalPercentageOfRespiratoryPhase=50",
        ),
        (lambda k: {"FrameContentSequence": {"TemporalPositionIndex": 1 + k % 2}}, "(1, 2)", "TemporalPositionIndex=2"),
        (
            lambda k: {"FrameContentSequence": {"FrameAcquisitionDateTime": f"2024013{k % 2}"}},
            "AcquisitionDateTime",
            "AcquisitionDateTime=#2",
        ),
        (
            lambda k: {"ContrastBolusUsageSequence": {"ContrastBolusAgentAdministered": ("NO", "YES")[k % 2]}},
            "ContrastBolusAgent",
            "ContrastBolusAgent=YES",
        ),
    ],
)
def test_functional_groups_tell_frames_apart(tmp_path: Path, groups: Any, says: str, select: str) -> None:
    positions = repeated(2, interleaved=True)
    path = write_enhanced(tmp_path / "frames.dcm", positions, sop_class=EnhancedMRImageStorage, groups=groups)
    message = refusal([path])
    assert "2 volumes" in message
    assert says in message
    check_selected([path], select, 0)


def test_a_number_in_free_text_is_not_shown(tmp_path: Path) -> None:
    for keyword in ("ContrastBolusAgent", "SequenceName", "AcquisitionTime"):
        paths = write_slices(tmp_path / keyword, repeated(2), each(keyword, lambda k: f"12345{k // 10}"))
        assert "12345" not in refusal(paths)
        with pytest.raises(DataError, match="INDEX-SELECT") as caught:
            read_series(paths, select=f"{keyword}=7")
        assert "12345" not in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("RepetitionTime", (500, 2000)),
        ("ScanOptions", ("", "FS")),
        ("AcquisitionDate", ("20240131", "20240201")),
        ("SeriesTime", ("100000", "100100")),
        ("ReconstructionDiameter", (200, 300)),
        ("SequenceName", ("*ep_b50", "*ep_b1000")),
    ],
)
def test_attributes_that_are_read_only_where_nothing_else_separates(tmp_path: Path, keyword: str, values: Any) -> None:
    paths = write_slices(tmp_path, stack() * 2, both(MR, brighter, each(keyword, lambda k: values[k // 10])))
    message = refusal(paths)
    assert f"differ in {keyword}" in message
    assert "20240131" not in message
    check_selected(paths, f"{keyword}=#2", 1)
