"""Headers that do not describe their pixels, colours that cannot be known, and byte orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless

from medfl.data.dicom.image import read_dicom_image
from medfl.data.dicom.series import read_series
from medfl.data.dicom.stored_values import FrameDecoder
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.compression import encode_jpeg, encode_jpeg2000, encode_jpeg_lossless, put_frame, put_native
from tests.data.dicom.phantom import new_object, slice_values, stack, write_slices
from tests.data.dicom.writing import put

COLOURS = np.zeros((64, 64, 3), np.uint8)
COLOURS[..., 0] = 200
COLOURS[:32, :, 1] = 90
COLOURS[:, :32, 2] = np.arange(32) * 5


def colour_image(photometric: str, bits: int = 8, planar: int = 0) -> Dataset:
    ds = new_object()
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = 64, 64, 3, planar
    ds.PhotometricInterpretation, ds.BitsStored, ds.HighBit, ds.BitsAllocated = (
        photometric,
        bits,
        bits - 1,
        8 * (1 + (bits > 8)),
    )
    return ds


def check_colours(ds: Dataset, expected: NDArray[Any] = COLOURS, atol: float = 0) -> None:
    np.testing.assert_allclose(FrameDecoder(ds).decode(0).astype(float), expected, atol=atol)


def check_refused(ds: Dataset, code: str, says: str = "") -> None:
    with pytest.raises(DataError, match=code) as caught:
        FrameDecoder(ds).decode(0)
    assert says in caught.value.what


def compressed(photometric: str, encoded: Any, **options: Any) -> Dataset:
    ds = colour_image(photometric, **options)
    put_frame(ds, encoded)
    return ds


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL"])
def test_jpeg_without_any_marker_is_what_the_header_says(photometric: str) -> None:
    check_colours(compressed(photometric, encode_jpeg(COLOURS, drop_markers=True, subsampling=0)), atol=2)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_jpeg_with_a_marker_is_what_the_marker_says(photometric: str) -> None:
    check_colours(compressed(photometric, encode_jpeg(COLOURS, subsampling=0)), atol=2)  # JFIF: luminance and chrominance
    check_colours(compressed(photometric, encode_jpeg(COLOURS, keep_rgb=True)), atol=2)  # Adobe: not transformed
    check_colours(compressed(photometric, encode_jpeg(COLOURS, keep_rgb=True, drop_markers=True)), atol=2)  # names R, G, B


def test_jpeg_called_rgb_of_which_nothing_says_so_is_refused() -> None:
    silent = encode_jpeg(COLOURS, drop_markers=True, subsampling=0)
    check_refused(compressed("RGB", silent), "DCM-COLORSPACE", "says RGB")
    halved = FrameDecoder(compressed("RGB", encode_jpeg(COLOURS, drop_markers=True, subsampling=2))).decode(0)
    assert abs(halved[48, 48].astype(int) - COLOURS[48, 48]).max() <= 2  # chrominance of fewer pixels gives it away


def test_jpeg_whose_markers_contradict_each_other_is_refused() -> None:
    syntax, frame = encode_jpeg(COLOURS, keep_rgb=True)
    jfif = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    check_refused(compressed("RGB", (syntax, frame[:2] + jfif + frame[2:])), "DCM-COLORSPACE", "contradict")


@pytest.mark.parametrize("planar", [0, 1])
def test_jpeg_2000_is_rgb_after_its_transform(planar: int) -> None:
    with_transform = encode_jpeg2000(COLOURS, 8, photometric_interpretation=1)
    without = encode_jpeg2000(COLOURS, 8, photometric_interpretation=1, use_mct=False)
    for photometric in ("YBR_RCT", "YBR_ICT", "RGB"):
        check_colours(compressed(photometric, with_transform, planar=planar))
    check_colours(compressed("RGB", without, planar=planar))
    check_refused(compressed("YBR_FULL", with_transform, planar=planar), "DCM-COLORSPACE", "transformed")
    check_refused(compressed("YBR_RCT", without, planar=planar), "DCM-COLORSPACE", "transformed")


def test_jpeg_2000_of_luminance_and_chrominance_is_converted() -> None:
    ybr = np.asarray(convert_color_space(COLOURS, "RGB", "YBR_FULL"))
    check_colours(compressed("YBR_FULL", encode_jpeg2000(ybr, 8, photometric_interpretation=3, use_mct=False)), atol=2)


def test_colours_of_12_bits_keep_them() -> None:
    deep = COLOURS.astype(np.uint16) * 16 + 5
    check_colours(compressed("YBR_RCT", encode_jpeg2000(deep, 12, photometric_interpretation=1), bits=12), deep)
    overlay = compressed("YBR_RCT", encode_jpeg2000(deep | 0x1000, 16, photometric_interpretation=1), bits=12)
    check_colours(overlay, deep)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("by_plane", [False, True])
def test_the_order_of_colours_in_jpeg_ls_is_that_of_the_codestream(planar: int, by_plane: bool) -> None:
    pixels = np.ascontiguousarray(COLOURS.transpose(2, 0, 1)) if by_plane else COLOURS
    frame = jpeg_ls.encode_buffer(pixels.tobytes(), 64, 64, 3, 8, interleave_mode=0 if by_plane else 2)
    check_colours(compressed("RGB", (JPEGLSLossless, bytes(frame)), planar=planar))


def test_uncompressed_colours_follow_planar_configuration() -> None:
    for planar, pixels in ((0, COLOURS), (1, np.ascontiguousarray(COLOURS.transpose(2, 0, 1)))):
        ds = colour_image("RGB", planar=planar)
        put_native(ds, pixels)
        check_colours(ds)
    del ds.PlanarConfiguration
    check_refused(ds, "DCM-HEADER", "PlanarConfiguration")
    ds = colour_image("YBR_FULL_422", planar=1)
    put_native(ds, COLOURS[..., :2])
    check_refused(ds, "DCM-HEADER", "PlanarConfiguration")


@pytest.mark.parametrize("photometric", ["YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "XYB"])
def test_colours_that_are_not_read_are_refused(photometric: str) -> None:
    ds = colour_image(photometric)
    put_native(ds, COLOURS)
    check_refused(ds, "DCM-COLORSPACE")


def test_deep_luminance_and_signed_colours_are_refused() -> None:
    ds = colour_image("YBR_FULL", 12)
    put_native(ds, COLOURS.astype("<u2"))
    check_refused(ds, "DCM-COLORSPACE", "8 bits")
    ds = colour_image("RGB")
    put_native(ds, COLOURS)
    ds.PixelRepresentation = 1
    check_refused(ds, "DCM-HEADER", "sign")
    ds = colour_image("YBR_RCT")
    put_native(ds, COLOURS)
    check_refused(ds, "DCM-COLORSPACE", "JPEG 2000")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(BitsStored=None), "BitsStored missing"),
        (put(PixelRepresentation=None, PhotometricInterpretation=None), "PixelRepresentation, PhotometricInterpretation"),
        (put(BitsAllocated=12, BitsStored=12, HighBit=11), "BitsAllocated is 12"),
        (put(BitsAllocated=8), "does not fit into the 8 bits"),
        (put(PixelRepresentation=2), "PixelRepresentation"),
        (put(SamplesPerPixel=2), "SamplesPerPixel"),
        (put(PhotometricInterpretation="RGB"), "SamplesPerPixel"),
    ],
)
def test_headers_that_do_not_describe_pixels_are_said_to_be_so(tmp_path: Path, change: Any, says: str) -> None:
    (path,) = write_slices(tmp_path, stack(1), change)
    with pytest.raises(DataError, match="DCM-HEADER") as caught:
        read_dicom_image(path, SiteData())
    assert says in caught.value.what


def test_more_pixels_than_the_header_says_are_refused_and_padding_is_not(tmp_path: Path) -> None:
    def lengthen(k: int, ds: Any) -> None:
        ds.PixelData = ds.PixelData * 3

    with pytest.raises(DataError, match="DCM-PIXELS"):
        read_dicom_image(write_slices(tmp_path / "a", stack(1), lengthen)[0])
    volume = read_series(write_slices(tmp_path / "b", None, lambda k, ds: setattr(ds, "PixelData", ds.PixelData + bytes(6))))
    np.testing.assert_allclose(volume.array[0, :, :, 0].T, slice_values(stack()[0]), atol=0.1)


def test_pixels_of_an_odd_number_of_bytes_are_read(tmp_path: Path) -> None:
    def small(k: int, ds: Any) -> None:
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 3, 5, 8, 8, 7
        ds.RescaleSlope, ds.RescaleIntercept, ds.PixelData = "1", "0", bytes(range(15)) + b"\0"
        ds.PixelSpacing = [1, 1]

    (path,) = write_slices(tmp_path, stack(1), small)
    np.testing.assert_array_equal(read_dicom_image(path).array[0].T, np.arange(15).reshape(3, 5))


@pytest.mark.parametrize(("vr", "bits"), [("OB", 16), ("UN", 16), ("OW", 32)])
def test_big_endian_pixels_of_which_the_order_is_unknown_are_refused(vr: str, bits: int) -> None:
    ds = big_endian(vr, bits, np.zeros((4, 6), f">u{bits // 8}"))
    check_refused(ds, "DCM-PIXELS", "big endian")


def big_endian(vr: str, bits: int, codes: NDArray[Any]) -> Dataset:
    ds = new_object()
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = *codes.shape, bits, bits, bits - 1
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.add_new("PixelData", vr, codes.tobytes())
    return ds


def test_big_endian_words_and_bytes_are_read() -> None:
    codes = np.arange(24).reshape(4, 6) * 100
    np.testing.assert_array_equal(FrameDecoder(big_endian("OW", 16, codes.astype(">u2"))).decode(0), codes)
    small = (codes // 100).astype(np.uint8)
    np.testing.assert_array_equal(FrameDecoder(big_endian("OB", 8, small)).decode(0), small)
    swapped = small.reshape(-1, 2)[:, ::-1]  # bytes in words
    np.testing.assert_array_equal(FrameDecoder(big_endian("OW", 8, swapped.reshape(4, 6))).decode(0), small)


@pytest.mark.parametrize("bits", [12, 16])
def test_words_stored_as_bytes_are_read_unless_they_are_swapped(tmp_path: Path, bits: int) -> None:
    def as_bytes(order: str) -> Any:
        def change(k: int, ds: Any) -> None:
            stored = np.round(slice_values(np.array(ds.ImagePositionPatient, float))) + 1024
            ds.RescaleSlope, ds.RescaleIntercept, ds.BitsStored, ds.HighBit = "1", "-1024", bits, bits - 1
            ds.PixelData, ds["PixelData"].VR = stored.astype(order).tobytes(), "OB"

        return change

    volume = read_series(write_slices(tmp_path / "a", None, as_bytes("<u2")))
    np.testing.assert_allclose(volume.array[0, :, :, 0].T, slice_values(stack()[0]), atol=0.5)
    with pytest.raises(DataError, match="DCM-PIXELS"):
        read_series(write_slices(tmp_path / "b", None, as_bytes(">u2")))


def test_the_bits_of_lossless_jpeg_are_not_taken_for_colours() -> None:
    grey = (COLOURS[..., 0] + COLOURS[..., 1]).astype(np.uint16)
    ds = colour_image("RGB")
    put_frame(ds, encode_jpeg_lossless(grey, 12))
    check_refused(ds, "DCM-PIXELS", "SamplesPerPixel says 3")


@pytest.mark.parametrize("bits", [32, 64])
def test_wide_and_floating_pixels_are_read(tmp_path: Path, bits: int) -> None:
    def wide(k: int, ds: Any) -> None:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept = bits, bits, bits - 1, "1", "0"
        ds.PixelData = np.full((24, 20), 70_000 + k, f"<u{bits // 8}").tobytes()

    def floating(k: int, ds: Any) -> None:
        del ds.PixelData, ds.RescaleSlope, ds.RescaleIntercept, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
        keyword = "FloatPixelData" if bits == 32 else "DoubleFloatPixelData"
        ds.BitsAllocated = bits
        setattr(ds, keyword, np.full((24, 20), 0.5, f"<f{bits // 8}").tobytes())

    assert (read_dicom_image(write_slices(tmp_path / "a", stack(1), wide)[0]).array == 70_000).all()
    assert (read_dicom_image(write_slices(tmp_path / "b", stack(1), floating)[0]).array == 0.5).all()


@pytest.mark.parametrize(
    ("attributes", "pixels"),
    [
        ({"Rows": 12}, 480),
        ({"Columns": 10}, 480),
        ({"Columns": 19}, 480),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, 480),
        ({}, 960),  # two frames
        ({"NumberOfFrames": 10}, 5280),  # eleven frames
    ],
)
@pytest.mark.parametrize("value", [0, 1000])
def test_pixels_that_a_wrong_size_leaves_over_are_refused(attributes: dict[str, int], pixels: int, value: int) -> None:
    ds = new_object()
    ds.Rows, ds.Columns = 24, 20
    put_native(ds, np.full(pixels, value, "<u2"))
    for keyword, number in attributes.items():
        setattr(ds, keyword, number)
    check_refused(ds, "DCM-PIXELS", "more pixels")


@pytest.mark.parametrize("padding", [b"\0", b"\0\0", b"\x07\x09", bytes(100), bytes(64), b"\xff" * 30])
def test_padding_behind_the_pixels_is_left_out(padding: bytes) -> None:
    ds = new_object()
    ds.Rows, ds.Columns = 24, 20
    codes = np.arange(480, dtype="<u2").reshape(24, 20)
    put_native(ds, codes)
    ds.PixelData += padding
    with silence_libraries():
        np.testing.assert_array_equal(FrameDecoder(ds).decode(0), codes)


def test_a_marker_of_rgb_contradicts_a_header_of_luminance_unless_the_names_agree() -> None:
    syntax, frame = encode_jpeg(COLOURS, drop_markers=True, subsampling=0)
    marked = frame[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + frame[2:]
    for photometric in ("YBR_FULL", "YBR_FULL_422"):
        check_refused(compressed(photometric, (syntax, marked)), "DCM-COLORSPACE", "says RGB")
        check_colours(compressed(photometric, encode_jpeg(COLOURS, keep_rgb=True)), atol=4)


def test_the_photometric_interpretation_may_be_in_lower_case() -> None:
    ds = new_object()
    codes = np.arange(480, dtype="<u2").reshape(24, 20)
    with silence_libraries():
        ds.Rows, ds.Columns, ds.PhotometricInterpretation = 24, 20, "monochrome2"
    put_native(ds, codes)
    np.testing.assert_array_equal(FrameDecoder(ds).decode(0), codes)


def test_bytes_in_the_upper_half_of_words_are_an_image() -> None:
    ds = new_object()
    codes = (np.arange(480).reshape(24, 20) // 2).astype("<u2") << 8
    ds.Rows, ds.Columns, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 24, 20, 16, 15, 0
    put_native(ds, codes)
    ds["PixelData"].VR = "OB"
    np.testing.assert_array_equal(FrameDecoder(ds).decode(0), codes)
