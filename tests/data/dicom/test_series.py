from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import nibabel.orientations as axes
import numpy as np
import pytest

from medfl.data.dicom.series import read_dicom_image, read_series
from medfl.data.volume import LPS, Volume, corner_distance
from medfl.errors import DataError


def off(volume: Volume) -> float:
    """Largest difference from the value that belongs to a voxel's place: 200 + 3 L + 5 P + 7 S."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"), axis=-1)
    to_lps = LPS @ volume.affine
    lps = index @ to_lps[:3, :3].T + to_lps[:3, 3]
    return float(np.abs(volume.array[0] - (200 + lps @ [3, 5, 7])).max())


@pytest.mark.parametrize("angle", [0.0, 20.0, 45.0, 170.0])
def test_every_voxel_lies_where_the_affine_says(tmp_path: Path, write_series: Any, angle: float) -> None:
    volume = read_series(write_series(tmp_path, angle=angle))
    assert volume.array.shape == (1, 7, 5, 6)  # columns, rows, slices
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.spacing, (1.25, 1.5, 2.5), rtol=1e-5)
    assert off(volume) < 0.6
    assert volume.warnings == ()


def test_order_comes_from_positions_not_from_numbers(tmp_path: Path, write_series: Any) -> None:
    def shuffle(k: int, ds: Any) -> None:
        ds.InstanceNumber = (k * 7) % 5
        ds.SliceLocation = -k

    assert off(read_series(write_series(tmp_path, shuffle))) < 0.6


def test_rescale_of_each_slice_is_applied(tmp_path: Path, write_series: Any) -> None:
    def other_slope(k: int, ds: Any) -> None:
        if k % 2:
            values = np.frombuffer(ds.PixelData, "<u2") // 2
            ds.RescaleSlope, ds.PixelData = "1", values.astype("<u2").tobytes()

    assert off(read_series(write_series(tmp_path, other_slope))) <= 1.1  # halved values are rounded


def test_monochrome1_does_not_invert_a_ct(tmp_path: Path, write_series: Any) -> None:
    def inverse(k: int, ds: Any) -> None:
        ds.PhotometricInterpretation = "MONOCHROME1"

    assert off(read_series(write_series(tmp_path, inverse))) < 0.6


def test_small_noise_of_headers_is_tolerated(tmp_path: Path, write_series: Any) -> None:
    def noise(k: int, ds: Any) -> None:
        ds.ImageOrientationPatient = [float(v) + 1e-6 * k for v in ds.ImageOrientationPatient]
        ds.ImagePositionPatient = [float(v) + 1e-3 * (k % 2) for v in ds.ImagePositionPatient]
        del ds.FrameOfReferenceUID

    assert off(read_series(write_series(tmp_path, noise))) < 0.6


def _delete(keyword: str) -> Any:
    return lambda k, ds: delattr(ds, keyword)


def _at(index: int, **values: Any) -> Any:
    def change(k: int, ds: Any) -> None:
        if k == index:
            for keyword, value in values.items():
                setattr(ds, keyword, value)

    return change


def _shift(k: int, ds: Any) -> None:
    if k >= 3:
        ds.ImagePositionPatient = [float(ds.ImagePositionPatient[0]) + 8, *ds.ImagePositionPatient[1:]]


def _gap(k: int, ds: Any) -> None:
    ds.ImagePositionPatient = [ds.ImagePositionPatient[0], 4 + 2.5 * (k + (k > 2)), ds.ImagePositionPatient[2]]


def _uneven(k: int, ds: Any) -> None:
    ds.ImagePositionPatient = [ds.ImagePositionPatient[0], 4 + 2.5 * (k + 0.4 * (k > 2)), ds.ImagePositionPatient[2]]


def _echoes(k: int, ds: Any) -> None:
    ds.EchoTime = 10 + k % 2
    ds.ImagePositionPatient = [ds.ImagePositionPatient[0], 4 + 2.5 * (k // 2), ds.ImagePositionPatient[2]]


def _doubled(k: int, ds: Any) -> None:
    ds.ImagePositionPatient = [ds.ImagePositionPatient[0], 4 + 2.5 * max(k, 1), ds.ImagePositionPatient[2]]


def _short(k: int, ds: Any) -> None:
    if k == 2:
        ds.PixelData = ds.PixelData[:20]


def _colour(k: int, ds: Any) -> None:
    ds.SamplesPerPixel = 3


def _unscaled(k: int, ds: Any) -> None:
    if k == 2:
        del ds.RescaleSlope, ds.RescaleIntercept


REFUSED = {
    "no position": (_delete("ImagePositionPatient"), "DCM-NO-GEOMETRY"),
    "no pixel spacing": (_delete("PixelSpacing"), "DCM-NO-GEOMETRY"),
    "another matrix": (_at(1, Rows=4), "DCM-MATRIX"),
    "another orientation": (_at(1, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "DCM-ORIENT"),
    "no unit vectors": (_at(1, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "DCM-IOP"),
    "another pixel spacing": (_at(1, PixelSpacing=[3, 2.5]), "DCM-PIXELSPACING"),
    "a slice missing": (_gap, "DCM-MISSING-SLICES"),
    "uneven distances": (_uneven, "DCM-SPACING"),
    "shifted slices": (_shift, "DCM-SHIFT"),
    "several echoes": (_echoes, "DCM-MULTIVOLUME"),
    "one place twice": (_doubled, "DCM-DUP-POSITION"),
    "pixels cut": (_short, "DCM-TRUNCATED"),
    "colour": (_colour, "DCM-COLOR"),
    "multi-frame among slices": (_at(1, NumberOfFrames=2), "DCM-MIXED-FRAMES"),
    "two series": (_at(1, SeriesInstanceUID="1.2.3"), "DCM-SERIES"),
    "two patients": (_at(1, PatientID="CANARY-OTHER"), "DCM-PATIENTS"),
    "one slice without a scale": (_unscaled, "DCM-RESCALE"),
    "a report": (_at(1, Modality="SR"), "DCM-SOPCLASS"),
    "a mosaic": (_at(1, ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"]), "DCM-MOSAIC"),
    "too few numbers": (_at(1, ImagePositionPatient=[1, 2]), "DCM-HEADER"),
}


@pytest.mark.parametrize(("change", "code"), REFUSED.values(), ids=list(REFUSED))
def test_a_series_that_is_no_regular_volume_is_refused(tmp_path: Path, write_series: Any, change: Any, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_series(write_series(tmp_path, change))
    assert caught.value.code == code
    assert "CANARY" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(("tilt", "angle"), [(15.0, 0.0), (5.0, 30.0)])
def test_gantry_tilt_is_refused(tmp_path: Path, write_series: Any, tilt: float, angle: float) -> None:
    with pytest.raises(DataError, match=rf"DCM-GANTRY-TILT.*{tilt:.1f} degrees"):
        read_series(write_series(tmp_path, tilt=tilt, angle=angle))


def test_few_slices_are_no_volume(tmp_path: Path, write_series: Any) -> None:
    paths = write_series(tmp_path, count=3)
    with pytest.raises(DataError, match="DCM-FEW-SLICES"):
        read_series(paths)
    assert read_series(paths, min_slices=3).shape == (7, 5, 3)


def test_identical_copies_and_localizers_are_dropped_with_a_warning(tmp_path: Path, write_series: Any) -> None:
    paths = write_series(tmp_path, _at(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    copy = tmp_path / "copy.dcm"
    shutil.copy(paths[3], copy)
    volume = read_series([*paths, copy])
    assert volume.shape == (7, 5, 5)
    assert {warning.code for warning in volume.warnings} == {"DCM-DUP-COPY", "DCM-LOCALIZER"}


def test_different_files_with_one_uid_are_refused(tmp_path: Path, write_series: Any) -> None:
    with pytest.raises(DataError, match="DCM-DUP-UID"):
        read_series(write_series(tmp_path, lambda k, ds: setattr(ds, "SOPInstanceUID", "1.2.3")))


def test_a_file_that_is_not_dicom_is_refused(tmp_path: Path, write_series: Any) -> None:
    paths = write_series(tmp_path)
    paths[2].write_bytes(b"not dicom at all")
    with pytest.raises(DataError, match="DCM-READ"):
        read_series(paths)


def test_projection_xray_is_inverted_when_monochrome1(tmp_path: Path, write_series: Any) -> None:
    plain = read_dicom_image(write_series(tmp_path / "a", _at(0, Modality="DX"), count=1)[0])
    inverse = _at(0, Modality="DX", PhotometricInterpretation="MONOCHROME1")
    inverted = read_dicom_image(write_series(tmp_path / "b", inverse, count=1)[0])
    assert plain.array.shape == (1, 7, 5)
    assert plain.array[0, 1, 0] - plain.array[0, 0, 0] == pytest.approx(3 * 1.25, abs=0.5)  # columns run along the first axis
    np.testing.assert_allclose(inverted.array, plain.array.max() + plain.array.min() - plain.array)


def test_numbers_of_palette_colours_are_not_grey_values(tmp_path: Path, write_series: Any) -> None:
    falling = np.arange(256, dtype=np.uint8)[::-1].tobytes()

    def palette(k: int, ds: Any) -> None:
        ds.Modality, ds.PhotometricInterpretation = "US", "PALETTE COLOR"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = np.arange(35, dtype=np.uint8).tobytes() + bytes(1)
        for colour in ("Red", "Green", "Blue"):
            setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 8])
            setattr(ds, f"{colour}PaletteColorLookupTableData", falling)
        del ds.RescaleSlope, ds.RescaleIntercept

    image = read_dicom_image(write_series(tmp_path, palette, count=1)[0])
    np.testing.assert_allclose(image.array[0].T, 255 - np.arange(35).reshape(5, 7), atol=1e-3)


@pytest.mark.realdata
def test_vendors_series_lie_where_the_reference_says(real_data: Path) -> None:
    compared = 0
    for reference in sorted((real_data / "dicom" / "geometry").rglob("*_ground_truth.nii.gz")):
        folder = reference.with_name(reference.name.removesuffix("_ground_truth.nii.gz"))
        if "rgb" in reference.parts or not folder.is_dir():
            continue
        volume = read_series(sorted(folder.glob("*.dcm")), min_slices=1)
        truth = nibabel.load(reference)
        turn = axes.ornt_transform(axes.io_orientation(truth.affine), axes.io_orientation(volume.affine))
        affine = truth.affine @ axes.inv_ornt_aff(turn, truth.shape)
        assert corner_distance(affine, volume.affine, volume.shape) < 0.01
        np.testing.assert_allclose(axes.apply_orientation(truth.get_fdata(), turn), volume.array[0], atol=1e-4)
        compared += 1
    assert compared >= 7


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("ct-ge-gantry-tilt-variable-gap", "DCM-SPACING"),
        ("geometry/failing/gantrytilting/001", "DCM-GANTRY-TILT"),
        ("geometry/failing/sliceincrement/001", "DCM-SPACING"),
        ("geometry/generic/rgb/001", "DCM-COLOR"),
        ("geometry/siemens/fmri/001", "DCM-MOSAIC"),
    ],
)
def test_real_series_that_are_no_volume_are_refused(real_data: Path, folder: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_series(sorted((real_data / "dicom" / folder).glob("*.dcm")), min_slices=1)
    assert caught.value.code == code


@pytest.mark.realdata
def test_enhanced_multi_frame_is_read(real_data: Path) -> None:
    volume = read_series(sorted((real_data / "dicom/geometry/philips_enhanced/anatomical/001").glob("*.dcm")))
    assert volume.shape == (256, 256, 8)


@pytest.mark.realdata
def test_nine_encodings_decode_to_the_same_pixels(real_data: Path) -> None:
    images = [read_dicom_image(path).array for path in sorted((real_data / "dicom/mr-siemens-nine-encodings").glob("*.dcm"))]
    assert len(images) == 9
    assert all((image == images[0]).all() for image in images)
