"""Selections of one volume of a series of several."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.data.dicom.headers import Header
from medfl.data.dicom.select import format_numbers, is_same_value, parse_select, select_headers, slice_orientation
from medfl.errors import DataError


def header(**values: str | tuple[str, ...]) -> Header:
    return Header(Path("x.dcm"), values)


def test_keys_are_known_by_any_case_and_by_their_names_in_enhanced_objects() -> None:
    assert parse_select("echotime=10; Orientation=Axial;ROWS = 512 ;") == {
        "EchoTime": "10",
        "orientation": "Axial",
        "rows": "512",
    }
    assert parse_select("EffectiveEchoTime=4.6") == {"EchoTime": "4.6"}
    assert parse_select("") == {}


@pytest.mark.parametrize("text", ["PatientID=CANARY", "CANARY", "EchoTime=", "rows=1;rows=2", "orientation=oblique"])
def test_invalid_selections_are_refused_without_quoting_them(text: str) -> None:
    with pytest.raises(DataError, match="INDEX-SELECT") as caught:
        parse_select(text)
    assert "CANARY" not in str(caught.value)


def test_numbers_are_compared_as_numbers_and_words_as_words() -> None:
    assert is_same_value("10", "10.0")
    assert is_same_value("4.60000012", "4.6")
    assert not is_same_value("10", "10.1")
    assert is_same_value("HEAD", "head")
    assert not is_same_value("", "0")


def test_one_value_of_image_type_is_enough() -> None:
    images = [header(ImageType=("ORIGINAL", "PRIMARY", word)) for word in ("M", "P")]
    assert select_headers(images, {"ImageType": "p"}) == images[1:]
    assert select_headers(images, {"ImageType": "ORIGINAL\\PRIMARY\\M"}) == images[:1]


def test_the_plane_is_that_of_the_nearest_axis() -> None:
    assert slice_orientation(header(ImageOrientationPatient=("1", "0", "0", "0", "0.9", "-0.44"))) == "axial"
    assert slice_orientation(header(ImageOrientationPatient=("1", "0", "0", "0", "0", "-1"))) == "coronal"
    assert slice_orientation(header(ImageOrientationPatient=("0", "1", "0", "0", "0", "-1"))) == "sagittal"
    assert slice_orientation(header()) == ""
    assert slice_orientation(header(ImageOrientationPatient=("1", "0", "damaged", "0", "0", "-1"))) == ""


def test_lists_of_numbers_are_sorted_and_contain_no_words() -> None:
    assert format_numbers(["100.0", "20.0", "20", "3.25"]) == "3.25, 20.0, 100.0"
    assert format_numbers(["1", "CANARY"]) == ""
