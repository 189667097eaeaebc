"""How a patient lies in a DICOM image that is read by itself, and the shape of its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, MRImageStorage

from medfl.data.dicom.image import read_dicom_image
from medfl.errors import DataError
from tests.data.dicom.phantom import new_object

ROWS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def read(folder: Path, rows: Any = ROWS, modality: str = "DX", **values: Any) -> list[list[float]]:
    """Return rows of grey values of an image with these attributes."""
    ds = new_object(MRImageStorage if modality == "MR" else DigitalXRayImageStorageForPresentation)
    ds.Modality, ds.StudyInstanceUID, ds.SeriesInstanceUID = modality, "1.2.3", "1.2.4"
    ds.Rows, ds.Columns = np.shape(rows)
    ds.PixelData = np.asarray(rows).astype("<u2").tobytes()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(folder / "a.dcm", enforce_file_format=True)
    found: list[list[float]] = read_dicom_image(folder / "a.dcm").array[0].T.tolist()
    return found


@pytest.mark.parametrize(
    ("sides", "stored"),
    [
        (["L", "F"], ROWS),
        (["R", "F"], ROWS[:, ::-1]),
        (["L", "H"], ROWS[::-1]),
        (["R", "H"], ROWS[::-1, ::-1]),
        (["F", "L"], ROWS.T),
        (["H", "R"], ROWS.T[::-1, ::-1]),
        (["P", "F"], ROWS),
        (["A", "F"], ROWS[:, ::-1]),
        (["AL", "FP"], ROWS[:, ::-1]),  # of several letters the first is the main direction
        (["L", "P"], ROWS),
        (["A", "L"], ROWS.T[:, ::-1]),
    ],
)
def test_patient_orientation_turns_an_image(tmp_path: Path, sides: list[str], stored: Any) -> None:
    assert read(tmp_path, stored, PatientOrientation=sides) == ROWS.tolist()


@pytest.mark.parametrize("sides", [["L", "R"], ["L"], "", ["", ""], ["X", "Y"], ["LE", "V"]])
def test_an_image_that_does_not_say_how_the_patient_lies_stays_as_stored(tmp_path: Path, sides: Any) -> None:
    assert read(tmp_path, PatientOrientation=sides, FieldOfViewHorizontalFlip="YES") == ROWS.tolist()


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        ([1, 0, 0, 0, 1, 0], ROWS),
        ([-1, 0, 0, 0, 1, 0], ROWS[:, ::-1]),
        ([-1, 0, 0, 0, -1, 0], ROWS[::-1, ::-1]),
        ([1, 0, 0, 0, 0, -1], ROWS),
        ([0, 1, 0, 0, 0, -1], ROWS),
        ([0, -1, 0, 0, 0, 1], ROWS[::-1, ::-1]),
        ([0, 1, 0, 1, 0, 0], ROWS.T),
        ([0.8, 0.6, 0, 0.6, -0.8, 0], ROWS[::-1]),
    ],
)
def test_the_orientation_of_a_slice_turns_it(tmp_path: Path, orientation: list[float], stored: Any) -> None:
    assert read(tmp_path, stored, "MR", ImageOrientationPatient=orientation) == ROWS.tolist()


def test_orientations_that_are_opposed_or_damaged_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DCM-SIDES"):
        read(tmp_path, modality="MR", ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PatientOrientation=["R", "P"])
    assert read(tmp_path, modality="MR", ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PatientOrientation=["L", "P"])
    for damaged in ([1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], [1, 0, 0]):
        with pytest.raises(DataError, match="DCM-IOP"):
            read(tmp_path, modality="MR", ImageOrientationPatient=damaged)


def test_mammograms_of_both_breasts_lie_one_way(tmp_path: Path) -> None:
    assert read(tmp_path, modality="MG", PatientOrientation=["P", "L"]) == ROWS.tolist()
    assert read(tmp_path, ROWS[:, ::-1], "MG", PatientOrientation=["A", "R"]) == ROWS.tolist()
    assert read(tmp_path, ROWS[:, ::-1], "MG", PatientOrientation=["A", "FR"]) == ROWS.tolist()


TALL = np.repeat(ROWS, 2, axis=0).shape  # pixels twice as high as wide


@pytest.mark.parametrize(
    "values",
    [
        {"PixelAspectRatio": [2, 1]},
        {"PixelSpacing": [0.4, 0.2]},
        {"ImagerPixelSpacing": [0.4, 0.2]},
        {"NominalScannedPixelSpacing": [0.4, 0.2]},
        {"PixelSpacing": [0.4, 0.2], "ImagerPixelSpacing": [0.6, 0.3], "PixelAspectRatio": [4, 2]},
        {"PixelAspectRatio": [1, 2], "PatientOrientation": ["F", "L"]},
    ],
)
def test_pixels_are_made_square(tmp_path: Path, values: dict[str, Any]) -> None:
    turned = "PatientOrientation" in values
    found = read(tmp_path, ROWS.T if turned else ROWS, **values)
    assert np.shape(found) == TALL
    np.testing.assert_allclose(found[0], ROWS[0])
    np.testing.assert_allclose(found[1], 0.75 * ROWS[0] + 0.25 * ROWS[1])


def test_square_pixels_are_not_touched(tmp_path: Path) -> None:
    for values in ({"PixelAspectRatio": [1, 1]}, {"PixelSpacing": [0.1943, 0.194]}, {"PixelSpacing": [0, 0]}):
        assert read(tmp_path, **values) == ROWS.tolist()


def test_shapes_of_a_pixel_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"IMG-SPACING.*two different"):
        read(tmp_path, PixelAspectRatio=[2, 1], PixelSpacing=[0.2, 0.2])
    with pytest.raises(DataError, match=r"IMG-SPACING.*50 times"):
        read(tmp_path, PixelSpacing=[10, 0.2])


def test_regions_of_an_ultrasound_image_tell_the_shape_of_a_pixel(tmp_path: Path) -> None:
    region, time = Dataset(), Dataset()
    region.RegionSpatialFormat, region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = 1, 3, 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.04
    time.RegionSpatialFormat, time.PhysicalUnitsXDirection, time.PhysicalUnitsYDirection = 2, 4, 3  # M-mode
    time.PhysicalDeltaX, time.PhysicalDeltaY = 0.01, 0.04
    doppler = Dataset()  # said to be of tissue, though its columns are seconds
    doppler.RegionSpatialFormat, doppler.PhysicalUnitsXDirection, doppler.PhysicalUnitsYDirection = 1, 4, 3
    doppler.PhysicalDeltaX, doppler.PhysicalDeltaY = 0.01, 0.04
    for regions in ([region, time], [region, doppler], [doppler, region]):
        assert np.shape(read(tmp_path, SequenceOfUltrasoundRegions=regions)) == TALL


@pytest.mark.parametrize(("modality", "inverted"), [("US", True), ("OT", True), ("DX", True), ("MR", False)])
def test_monochrome1_is_shown_inverted_where_nothing_is_measured(tmp_path: Path, modality: str, inverted: bool) -> None:
    found = read(tmp_path, modality=modality, PhotometricInterpretation="MONOCHROME1", BurnedInAnnotation="NO")
    assert found == (11 - ROWS if inverted else ROWS).tolist()
