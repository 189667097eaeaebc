"""Series as volumes: axes, memory, comparison with highdicom, dcm2niix, and damaged objects."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS, Volume
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.phantom import PIXEL, stack, write_enhanced, write_slices
from tests.data.dicom.writing import both, each, oblique, put, repeated


def test_columns_rows_and_slices_are_the_axes(tmp_path: Path) -> None:
    volume = read_series(write_slices(tmp_path))
    assert volume.array.shape == (1, 20, 24, 10)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.spacing, (PIXEL[1], PIXEL[0], 2.5))
    np.testing.assert_allclose(volume.affine[:3, 3], (12, -8, 30))  # RAS of the first voxel


def check_equal(volume: Volume, reference: Any) -> None:
    upwards = reference.flip_spatial(axes=[0])  # highdicom counts slices against the normal
    np.testing.assert_allclose(volume.affine, LPS_TO_RAS @ upwards.affine[:, [2, 1, 0, 3]], atol=1e-5)
    np.testing.assert_allclose(volume.array[0], upwards.array.transpose(2, 1, 0), atol=1e-3)


def test_the_volume_is_that_of_highdicom(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, stack(8, oblique()), axes=oblique())
    reference = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in paths])
    volume = read_series(paths)
    check_equal(volume, reference)


def test_the_volume_of_frames_is_that_of_highdicom(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "frames.dcm", stack())
    dataset = pydicom.dcmread(path)
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 2.5  # highdicom uses it
    check_equal(read_series([path]), highdicom.Image.from_dataset(dataset).get_volume())


def test_a_volume_is_in_memory_once(tmp_path: Path) -> None:
    shape, count = (256, 256), 40
    paths = write_slices(tmp_path, stack(count), shape=shape)
    read_series(paths[:8])  # imports and caches
    tracemalloc.start()
    volume = read_series(paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.array.base is not None  # a view: slice by slice in memory, as it was read
    assert peak < 1.5 * volume.array.nbytes


def test_the_site_sets_the_least_number_of_slices(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, stack(3))
    with pytest.raises(DataError, match="DCM-FEW-SLICES"):
        read_series(paths)
    assert read_series(paths, SiteData(min_slices=3)).shape == (20, 24, 3)


def test_a_single_slice_takes_its_spacing_from_the_header_never_from_its_thickness(tmp_path: Path) -> None:
    (path,) = write_slices(tmp_path / "a", stack(1), put(SpacingBetweenSlices=4))
    assert read_series([path], SiteData(min_slices=1)).spacing[2] == pytest.approx(4)
    (path,) = write_slices(tmp_path / "b", stack(1))
    assert read_series([path], SiteData(min_slices=1)).spacing[2] == pytest.approx(1)


def test_words_of_a_header_are_not_repeated(tmp_path: Path) -> None:
    times = each("ImageType", lambda k: ["ORIGINAL", "PRIMARY", "CANARY A" if k % 2 else "CANARY B"])
    with pytest.raises(DataError, match=r"2 volumes that differ in ImageType\.") as caught:
        read_series(write_slices(tmp_path, repeated(2, interleaved=True), times))
    assert "CANARY" not in str(caught.value)
    assert "ImageType=..." in caught.value.fix


def test_long_lists_of_values_are_shortened(tmp_path: Path) -> None:
    times = each("TemporalPositionIdentifier", lambda k: 1 + k % 9)
    with pytest.raises(DataError, match=r"\(1, 2, 3, 4, 5, 6, \.\.\.\)"):
        read_series(write_slices(tmp_path, repeated(9, 8, interleaved=True), times))


def test_series_that_medfl_cannot_read_go_to_dcm2niix_if_the_site_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted, calls = Volume(np.zeros((1, 2, 2, 2), np.float32)), []
    fake = type(sys)("converter")
    fake.read_with_dcm2niix = lambda paths: calls.append(sorted(paths)) or converted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medfl.data.dicom.dcm2niix", fake)
    mosaic = put(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    paths = write_slices(tmp_path / "mosaic", stack(3), mosaic)
    settings = SiteData(converter="dcm2niix")
    assert read_series(paths, settings) is converted
    assert calls == [sorted(paths)]
    with pytest.raises(DataError, match="DCM-MOSAIC"):
        read_series(paths)
    with pytest.raises(DataError, match="DCM-MOSAIC"):  # dcm2niix cannot select an echo
        read_series(paths, settings, select="EchoTime=10")
    burned_in = write_slices(tmp_path / "drawn", stack(3), both(mosaic, put(BurnedInAnnotation="YES")))
    with pytest.raises(DataError, match="BURNED-IN"):
        read_series(burned_in, settings)
    lost = write_slices(tmp_path / "lost", [*stack()[:4], *stack()[5:]])
    with pytest.raises(DataError, match="DCM-MISSING-SLICES"):  # dcm2niix would convert without them
        read_series(lost, settings)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (put(4, PixelRepresentation=None), "DCM-HEADER"),
        (put(4, RescaleSlope="0"), "DCM-RESCALE"),
        (put(4, PatientID="CANARY-OTHER"), "DCM-PATIENTS"),
        (put(4, PixelData=None), "DCM-TRUNCATED"),
        (put(4, Rows=None), "DCM-HEADER"),
        (put(SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1"), "DCM-SOPCLASS"),
        (put(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2"), "DCM-SOPCLASS"),
        (put(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), "DCM-SOPCLASS"),
        (put(SOPClassUID="1.3.12.2.1107.5.9.1"), "DCM-SOPCLASS"),
        (put(Modality="US"), "BURNED-IN"),
    ],
)
def test_damaged_and_foreign_objects_are_refused(tmp_path: Path, change: Any, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_series(write_slices(tmp_path, change=change))
    assert caught.value.code == code
    assert "CANARY" not in str(caught.value)


def test_a_file_that_is_not_dicom_is_refused(tmp_path: Path) -> None:
    paths = write_slices(tmp_path)
    paths[2].write_bytes(b"not dicom at all")
    with pytest.raises(DataError, match="DCM-READ"):
        read_series(paths)


def test_one_object_of_several_is_selected_by_its_uid(tmp_path: Path) -> None:
    frames = write_enhanced(tmp_path / "frames.dcm", stack(9))
    others = write_slices(tmp_path, change=both(put(SeriesInstanceUID="1.2.3.4"), put(StudyInstanceUID="1.2.3")))
    uid = pydicom.dcmread(frames, stop_before_pixels=True).SOPInstanceUID
    assert read_series([*others, frames], select=f"sop_instance={uid}").shape == (20, 24, 9)
