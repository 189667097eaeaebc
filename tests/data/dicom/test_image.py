"""Single DICOM files as 2-D images: modality LUT, inversion, colours, burned-in names, truncated pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundImageStorage

from medfl.data.dicom.codecs import TRANSFER_SYNTAX_NAMES, check_codec, is_truncated
from medfl.data.dicom.image import read_dicom_image
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.phantom import PIXEL, Change, slice_values, stack, write_enhanced, write_slices
from tests.data.dicom.writing import both, colour, headerless, no_codec, put

ALLOW = SiteData(burned_in="allow")


def write_image(folder: Path, change: Change = lambda k, ds: None) -> Path:
    return write_slices(folder, stack(1), both(put(PixelSpacing=[1, 1]), change))[0]  # pixels that are not square are made so


def test_projection_xray_is_inverted_when_monochrome1(tmp_path: Path) -> None:
    inverse = put(PhotometricInterpretation="MONOCHROME1")
    plain = read_dicom_image(write_image(tmp_path / "a", put(Modality="DX")))
    inverted = read_dicom_image(write_image(tmp_path / "b", both(put(Modality="DX"), inverse)))
    ct_slice = read_dicom_image(write_image(tmp_path / "c", inverse))
    assert plain.array.shape == (1, 20, 24)
    assert plain.array[0, 1, 0] - plain.array[0, 0, 0] == pytest.approx(3 * PIXEL[1], abs=0.2)  # columns run along axis 0
    np.testing.assert_allclose(inverted.array, plain.array.max() + plain.array.min() - plain.array)
    np.testing.assert_array_equal(ct_slice.array, plain.array)


def test_no_window_is_applied(tmp_path: Path) -> None:
    plain = read_dicom_image(write_image(tmp_path / "a"))
    windowed = read_dicom_image(write_image(tmp_path / "b", put(WindowCenter="250", WindowWidth="20")))
    np.testing.assert_array_equal(windowed.array, plain.array)


def test_indices_of_palette_colours_are_not_grey_values(tmp_path: Path) -> None:
    descending = np.arange(256, dtype=np.uint8)[::-1].tobytes()
    stored = (np.arange(480) % 256).astype(np.uint8)

    def palette(k: int, ds: Any) -> None:
        ds.Modality, ds.PhotometricInterpretation, ds.BurnedInAnnotation = "US", "PALETTE COLOR", "NO"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, stored.tobytes()
        for name in ("Red", "Green", "Blue"):
            setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
            setattr(ds, f"{name}PaletteColorLookupTableData", descending)
        del ds.RescaleSlope, ds.RescaleIntercept

    image = read_dicom_image(write_image(tmp_path, palette))
    np.testing.assert_allclose(image.array[0].T, 255 - stored.reshape(24, 20).astype(float), atol=1e-3)


def test_colours_become_luminance(tmp_path: Path) -> None:
    def green(k: int, ds: Any) -> None:
        colour(k, ds)
        ds.PixelData = bytes([0, 100, 0]) * 480

    image = read_dicom_image(write_image(tmp_path, green))
    np.testing.assert_allclose(image.array, 58.7, atol=1e-4)


def _film(k: int, ds: Any) -> None:
    ds.Modality, ds.DetectorType = "DX", "FILM"


def _overlay(k: int, ds: Any) -> None:
    ds.Modality = "XA"
    ds.add_new((0x6000, 0x3000), "OW", bytes(60))


def _class(uid: str) -> Change:
    def change(k: int, ds: Any) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid

    return change


RISKY = {
    "ultrasound by its class": _class(UltrasoundImageStorage),
    "ultrasound by its modality": put(Modality="US"),
    "endoscopy": put(Modality="ES"),
    "secondary capture": _class(SecondaryCaptureImageStorage),
    "film": _film,
    "angiography with an overlay": _overlay,
}


@pytest.mark.parametrize("change", RISKY.values(), ids=list(RISKY))
def test_images_that_often_have_names_burned_in_must_be_allowed(tmp_path: Path, change: Change) -> None:
    with pytest.raises(DataError, match="BURNED-IN") as caught:
        read_dicom_image(write_image(tmp_path / "a", change))
    assert 'burned-in = "allow"' in caught.value.fix
    assert read_dicom_image(write_image(tmp_path / "b", change), ALLOW).shape == (20, 24)
    assert read_dicom_image(write_image(tmp_path / "c", both(change, put(BurnedInAnnotation="NO")))).shape == (20, 24)


def test_an_image_that_states_burned_in_text_is_never_read(tmp_path: Path) -> None:
    path = write_image(tmp_path, put(BurnedInAnnotation="YES"))
    for settings in (SiteData(), ALLOW):
        with pytest.raises(DataError, match="BURNED-IN"):
            read_dicom_image(path, settings)


@pytest.mark.parametrize("change", [put(Modality="DX"), put(Modality="XA"), put(Modality="MG"), put(Modality="CT")])
def test_other_images_need_no_permission(tmp_path: Path, change: Change) -> None:
    assert read_dicom_image(write_image(tmp_path, change)).shape == (20, 24)


def test_objects_that_are_not_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DCM-SOPCLASS"):
        read_dicom_image(write_image(tmp_path / "a", put(Modality="SR")))
    with pytest.raises(DataError, match="DCM-SOPCLASS"):
        read_dicom_image(write_image(tmp_path / "b", _class("1.2.840.10008.5.1.4.1.1.66.4")))
    with pytest.raises(DataError, match="DCM-FRAMES"):
        read_dicom_image(write_enhanced(tmp_path / "frames.dcm", stack(3)))


def test_truncated_and_undecodable_pixels_have_different_codes(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="DCM-TRUNCATED"):
        read_dicom_image(path)
    no_codec(tmp_path / "b")
    with pytest.raises(DataError, match=r"DCM-CODEC.*'JPEG Extended \(12 bit\)'.*medfl\[dicom-gpl\]"):
        read_dicom_image(next((tmp_path / "b").iterdir()))


def test_files_without_preamble_are_read_when_allowed(tmp_path: Path) -> None:
    headerless(tmp_path)
    path = min(tmp_path.iterdir())
    assert path.read_bytes()[128:132] != b"DICM"
    with pytest.raises(DataError, match="DCM-READ"):
        read_dicom_image(path)
    assert read_dicom_image(path, SiteData(allow_headerless=True)).shape == (20, 29)  # 24 rows of 1.5 mm, in 1.25 mm


def test_the_expected_number_of_pixels_comes_from_the_header(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_image(tmp_path))
    assert not is_truncated(dataset)
    dataset.Rows += 1
    assert is_truncated(dataset)
    del dataset.PixelData
    assert is_truncated(dataset)


def test_transfer_syntaxes_have_plain_names(tmp_path: Path) -> None:
    for uid, name in TRANSFER_SYNTAX_NAMES.items():
        assert pydicom.uid.UID(uid).is_valid
        assert name
    dataset = pydicom.dcmread(write_image(tmp_path))
    check_codec(dataset)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.4.102")
    with pytest.raises(DataError, match=r"'MPEG-4 video'.*uncompressed"):
        check_codec(dataset)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.3.6.1.4.1.5962.300.1")
    with pytest.raises(DataError, match="'a private or unknown transfer syntax'"):
        check_codec(dataset)


def test_the_only_frame_of_an_enhanced_object_is_rescaled(tmp_path: Path) -> None:
    position, square = stack()[3], {"PixelMeasuresSequence": {"PixelSpacing": [1, 1]}}
    volume = read_dicom_image(write_enhanced(tmp_path / "one.dcm", [position], groups=lambda k: square))
    assert np.allclose(volume.array[0], slice_values(position).T, atol=0.5)


def test_values_in_the_high_bits_are_refused(tmp_path: Path) -> None:
    (path, *_) = write_slices(tmp_path, change=put(BitsStored=12, HighBit=15))
    with pytest.raises(DataError, match="DCM-HEADER"):
        read_dicom_image(path)
