"""A stack has one acquisition: several, woven into one another, are volumes of which one can be selected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import EnhancedMRImageStorage

from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS, Volume
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.phantom import Change, Vector, encode_pixels, error_of, slice_values, stack, write_enhanced, write_slices
from tests.data.dicom.writing import both, each, put

RESAMPLE = SiteData(nonuniform="resample")
BRIGHTER = 300.0  # of the second acquisition, in Hounsfield units


def shifted(offset: float, count: int = 10, distance: float = 2.5) -> list[Vector]:
    return stack(count, origin=(-12.0, 8.0, 30.0 + offset), distance=distance)


def _second(first_count: int, *changes: Change) -> Change:
    """Return changes of a series of two acquisitions, the second of them brighter."""

    def brighten(k: int, ds: Any) -> None:
        values = slice_values(np.array(ds.ImagePositionPatient, float))
        ds.PixelData = encode_pixels(values + BRIGHTER * (k >= first_count))

    return both(brighten, *changes)


def told_apart(keyword: str, values: tuple[Any, Any], first_count: int = 10) -> Change:
    return _second(first_count, each(keyword, lambda k: values[k >= first_count]))


def check_volume(volume: Volume, brighter: float) -> None:
    assert error_of(volume.array[0] - brighter, LPS_TO_RAS @ volume.affine).max() < 0.6


WOVEN = {
    "half a slice apart": [*stack(), *shifted(1.25)],
    "0.8 mm apart": [*stack(), *shifted(0.8)],
    "the second twice as long": [*stack(10), *shifted(1.25, 20)],
    "overlapping in a half": [*stack(), *shifted(13.75)],
    "thick slabs among thin slices": [*stack(16), *shifted(0.4, 6, 6.0)],
}


@pytest.mark.parametrize("positions", WOVEN.values(), ids=list(WOVEN))
@pytest.mark.parametrize("settings", [SiteData(min_slices=3), SiteData(min_slices=3, nonuniform="resample")])
def test_woven_acquisitions_are_refused_and_selected(tmp_path: Path, positions: list[Vector], settings: SiteData) -> None:
    first = 16 if positions is WOVEN["thick slabs among thin slices"] else 10
    paths = write_slices(tmp_path, positions, told_apart("AcquisitionNumber", (1, 2), first))
    with pytest.raises(DataError, match="DCM-MULTIVOLUME") as caught:
        read_series(paths, settings)
    assert "2 volumes that differ in AcquisitionNumber (1, 2)" in caught.value.what
    check_volume(read_series(paths, settings, select="AcquisitionNumber=1"), 0)
    check_volume(read_series(paths, settings, select="AcquisitionNumber=2"), BRIGHTER)


@pytest.mark.parametrize(
    ("keyword", "values", "first", "second"),
    [
        ("AcquisitionTime", ("095900.5", "100500"), "#1", "#2"),
        ("AcquisitionTime", ("235900", "235900.25"), "#1", "#2"),
        ("AcquisitionDateTime", ("20240131235900", "20240201000500+0100"), "#1", "#2"),
        ("ContrastBolusAgent", ("", "CANARY"), "none", "#2"),
        ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MIP"]), "ORIGINAL", "MIP"),
        ("SliceThickness", (1.0, 5.0), "1", "5"),
        ("EchoNumbers", (1, 2), "#1", "#2"),
        ("NominalPercentageOfCardiacPhase", (40.0, 75.0), "40", "75"),
        ("SeriesNumber", (3, 4), "3", "#2"),
        ("SequenceName", ("*ep_b0", "*ep_b1000"), "*ep_b0", "#2"),
    ],
)
@pytest.mark.parametrize("order", ["by acquisition", "by position"])
def test_attributes_tell_acquisitions_apart(
    tmp_path: Path, keyword: str, values: Any, first: str, second: str, order: str
) -> None:
    numbers = each("InstanceNumber", lambda k: 1 + (k if order == "by acquisition" else k % 10 * 2 + k // 10))
    paths = write_slices(tmp_path, [*stack(), *shifted(1.25)], both(told_apart(keyword, values), numbers))
    with pytest.raises(DataError, match="DCM-MULTIVOLUME") as caught:
        read_series(paths)
    assert f"differ in {keyword}" in caught.value.what
    assert "CANARY" not in str(caught.value)
    assert "Time" not in keyword or not any(value in str(caught.value) for value in values)
    check_volume(read_series(paths, select=f"{keyword}={first}"), 0)
    check_volume(read_series(paths, select=f"{keyword}={second}"), BRIGHTER)


def test_more_than_two_acquisitions(tmp_path: Path) -> None:
    positions = [position for part in range(3) for position in shifted(part * 0.7)]
    paths = write_slices(tmp_path, positions, each("AcquisitionNumber", lambda k: 1 + k // 10))
    for settings in (SiteData(), RESAMPLE):
        with pytest.raises(DataError, match=r"DCM-MULTIVOLUME.*3 volumes that differ in AcquisitionNumber \(1, 2, 3\)"):
            read_series(paths, settings)
    assert read_series(paths, select="AcquisitionNumber=#3").affine[2, 3] == pytest.approx(31.4)


@pytest.mark.parametrize(
    "number",
    [lambda k: 1 + k, lambda k: 20 - k, lambda k: 1 + (k if k < 10 else 29 - k), lambda k: 1 + k % 10],
    ids=["one after the other", "backwards", "there and back", "each from 1"],
)
@pytest.mark.parametrize("offset", [1.25, 0.8])
def test_an_interleaving_that_nothing_explains_is_refused(tmp_path: Path, number: Callable[[int], int], offset: float) -> None:
    paths = write_slices(tmp_path, [*stack(), *shifted(offset)], _second(10, each("InstanceNumber", number)))
    for settings in (SiteData(), RESAMPLE):
        with pytest.raises(DataError, match="DCM-MULTIVOLUME") as caught:
            read_series(paths, settings)
        assert "no attribute tells them apart" in caught.value.what


@pytest.mark.parametrize("offset", [0.8, 0.5])
def test_spacing_that_only_repeats_in_pairs_is_refused_without_any_other_evidence(tmp_path: Path, offset: float) -> None:
    by_position = each("InstanceNumber", lambda k: 1 + k % 10 * 2 + k // 10)
    paths = write_slices(tmp_path, [*stack(), *shifted(offset)], _second(10, by_position))
    for settings in (SiteData(), RESAMPLE):
        with pytest.raises(DataError, match="DCM-MULTIVOLUME"):
            read_series(paths, settings)


def test_a_pause_between_slices_with_times_of_their_own_is_refused(tmp_path: Path) -> None:
    by_position = each("InstanceNumber", lambda k: 1 + k % 10 * 2 + k // 10)
    times = each("AcquisitionTime", lambda k: f"10{k // 10 * 5:02}{k % 10:02}.25")
    paths = write_slices(tmp_path, [*stack(), *shifted(1.25)], _second(10, by_position, times))
    with pytest.raises(DataError, match="DCM-MULTIVOLUME") as caught:
        read_series(paths)
    assert "2 regular stacks" in caught.value.what


def test_a_stack_partly_without_contrast_is_refused_even_one_above_the_other(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, stack(20), each("ContrastBolusAgent", lambda k: "CANARY" if k >= 10 else ""))
    with pytest.raises(DataError, match=r"DCM-MULTIVOLUME.*ContrastBolusAgent") as caught:
        read_series(paths)
    assert "CANARY" not in str(caught.value)
    assert read_series(paths, select="ContrastBolusAgent=none").shape == (20, 24, 10)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("ImageType", [["DERIVED", "PRIMARY", "DIXON", part] for part in "WF"]),
        ("ImageType", [["ORIGINAL", "PRIMARY", "M", part] for part in ("IN_PHASE", "OUT_PHASE")]),
        ("SeriesNumber", [5, 15]),
        ("FlipAngle", [5, 15]),
    ],
)
def test_blocks_of_other_contrast_are_refused_even_one_above_the_other(tmp_path: Path, keyword: str, values: Any) -> None:
    paths = write_slices(tmp_path, stack(20), each(keyword, lambda k: values[k // 10]))
    with pytest.raises(DataError, match=rf"DCM-MULTIVOLUME.*differ in {keyword}"):
        read_series(paths)


@pytest.mark.parametrize(
    "change",
    [
        put(InstanceNumber=None),
        both(each("InstanceNumber", lambda k: 1 + k % 10 * 2 + k // 10), each("AcquisitionNumber", lambda k: 1 + k // 10)),
        both(put(Modality="MR", SliceThickness=1.25), each("AcquisitionNumber", lambda k: 1 + k // 10)),
    ],
    ids=["no number", "numbered as packages", "as thick as packages"],
)
def test_slices_that_alternate_in_brightness_are_refused_whatever_their_headers_say(tmp_path: Path, change: Change) -> None:
    with pytest.raises(DataError, match=r"DCM-MULTIVOLUME.*alternate in brightness"):
        read_series(write_slices(tmp_path, [*stack(), *shifted(1.25)], _second(10, change)))


@pytest.mark.parametrize("kind", ["noise", "the same everywhere", "one bright slice"])
def test_slices_that_do_not_alternate_are_read(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(4).integers(0, 2000, (12, 24, 20))
    pictures = {
        "noise": noise,
        "the same everywhere": np.full((12, 24, 20), 7),
        "one bright slice": noise // 100 + 900 * (np.arange(12) == 5)[:, np.newaxis, np.newaxis],
    }[kind]
    paths = write_slices(tmp_path, stack(12), lambda k, ds: setattr(ds, "PixelData", pictures[k].astype("<u2").tobytes()))
    assert read_series(paths).shape == (20, 24, 12)


def test_frames_of_two_acquisitions(tmp_path: Path) -> None:
    def stacks(k: int) -> dict[str, dict[str, Any]]:
        return {"FrameContentSequence": {"StackID": "12"[k // 10], "FrameAcquisitionDateTime": f"2024010110000{k // 10}"}}

    path = write_enhanced(tmp_path / "a.dcm", [*stack(), *shifted(1.25)], sop_class=EnhancedMRImageStorage, groups=stacks)
    with pytest.raises(DataError, match="DCM-MULTIVOLUME"):
        read_series([path])
    check_volume(read_series([path], select="StackID=#1"), 0)
    assert read_series([path], select="StackID=2").affine[2, 3] == pytest.approx(31.25)
    assert read_series([path], select="FrameAcquisitionDateTime=#2").affine[2, 3] == pytest.approx(31.25)
    unexplained = write_enhanced(tmp_path / "b.dcm", [*stack(), *shifted(1.25)])
    with pytest.raises(DataError, match="DCM-MULTIVOLUME"):
        read_series([unexplained])


def _mr(thickness: float) -> Change:
    return put(Modality="MR", SliceThickness=thickness)


ONE_VOLUME = {
    "packages, numbered by position": (each("AcquisitionNumber", lambda k: 1 + k % 2), stack(12)),
    "MR packages with times": (
        both(_mr(9), each("AcquisitionTime", lambda k: f"10000{k % 2}"), each("AcquisitionNumber", lambda k: 1 + k % 2)),
        stack(12),
    ),
    "MR packages, numbered as acquired": (
        both(
            _mr(2.2),
            each("InstanceNumber", lambda k: 1 + k // 2 + 6 * (k % 2)),
            each("AcquisitionTime", lambda k: f"10000{k % 2}"),
        ),
        stack(12),
    ),
    "MR packages with wide gaps, numbered as acquired": (
        both(_mr(1.25), each("InstanceNumber", lambda k: 1 + k // 2 + 6 * (k % 2))),
        stack(12),
    ),
    "MR packages of unknown thickness, numbered as acquired": (
        both(_mr(9), put(SliceThickness=None), each("InstanceNumber", lambda k: 1 + k // 2 + 6 * (k % 2))),
        stack(12),
    ),
    "MR slices with times of their own, acquired interleaved": (
        both(_mr(2.5), each("AcquisitionTime", lambda k: f"1000{10 + k // 2 + 10 * (k % 2)}")),
        stack(12),
    ),
    "slices with times of their own, odd ones first": (
        each("AcquisitionTime", lambda k: f"1000{10 + k // 2 + 6 * (k % 2)}"),
        stack(12),
    ),
    "MR slices with times of their own and a breath between": (
        both(_mr(9), each("AcquisitionTime", lambda k: f"10{k % 2}0{10 + k // 2}")),
        stack(12),
    ),
    "an acquisition number for each slice": (each("AcquisitionNumber", lambda k: k + 1), stack(12)),
    "four slices a rotation": (
        both(each("AcquisitionTime", lambda k: f"1000{10 + k // 4}"), each("AcquisitionNumber", lambda k: 1 + k // 4)),
        stack(12),
    ),
    "overlapping reconstruction": (put(SliceThickness=5), stack(12)),
    "two stations, one above the other": (
        both(
            each("AcquisitionNumber", lambda k: 1 + k // 6),
            each("AcquisitionTime", lambda k: f"10{k // 6:02}00"),
            each("InstanceNumber", lambda k: 1 + k % 6),
        ),
        stack(12),
    ),
    "a type for one slice": (put(3, ImageType=["DERIVED", "SECONDARY"]), stack(12)),
    "reconstructed second by second": (each("ContentTime", lambda k: f"1000{10 + k // 3}"), stack(12)),
}


@pytest.mark.parametrize(("change", "positions"), ONE_VOLUME.values(), ids=list(ONE_VOLUME))
def test_one_volume_stays_one(tmp_path: Path, change: Change, positions: list[Vector]) -> None:
    volume = read_series(write_slices(tmp_path, positions, change))
    assert volume.shape == (20, 24, 12)
    check_volume(volume, 0)
