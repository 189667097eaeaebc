"""Stored values in every compression: bits, sign and size of the header are enforced, or the contradiction is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless

from medfl.data.dicom.codestream import parse_codestream
from medfl.data.dicom.image import read_dicom_image
from medfl.data.dicom.masks import read_dicom_mask
from medfl.data.dicom.series import read_series
from medfl.data.dicom.stored_values import FrameDecoder
from medfl.errors import DataError
from tests.data.dicom.compression import (
    HTJ2K_FRAME,
    LOSSLESS,
    encode_jpeg,
    encode_jpeg2000,
    encode_jpeg_lossless,
    encode_jpeg_ls,
    put_frame,
    put_native,
)
from tests.data.dicom.phantom import Change, new_object, slice_values, stack, write_slices

SHAPE = (40, 36)  # JPEG 2000 needs 32 pixels
VALUES = np.random.default_rng(3).integers(0, 4096, SHAPE)  # of 12 bits, unsigned
SIGNED = VALUES - 2048
OVERLAY = np.zeros(SHAPE, np.uint16)
OVERLAY[3:6, 4:9] = 0x1000
ENCODERS: dict[str, Any] = {"uncompressed": None, **LOSSLESS}
WITH_PRECISION = {name: encode for name, encode in LOSSLESS.items() if name != "RLE"}


def words(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Return numbers as 16 bits in two's complement."""
    return values.astype("<i4").astype("<u2")


def image(bits: int, signed: bool = False, shape: tuple[int, int] = SHAPE) -> Dataset:
    ds = new_object()
    ds.Rows, ds.Columns = shape
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
    return ds


def put(ds: Dataset, encode: Any, codes: NDArray[Any], **options: Any) -> Dataset:
    put_frame(ds, encode(codes, **options)) if encode else put_native(ds, codes)
    return ds


def decode(ds: Dataset) -> NDArray[Any]:
    return FrameDecoder(ds).decode(0)


def check_refused(ds: Dataset, code: str, says: str = "") -> None:
    with pytest.raises(DataError, match=code) as caught:
        decode(ds)
    assert says in caught.value.what


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=list(ENCODERS))
@pytest.mark.parametrize(
    ("codes", "signed", "expected"),
    [
        (words(VALUES) | OVERLAY, False, VALUES),
        (words(VALUES) | 0xA000, False, VALUES),
        (words(SIGNED) ^ OVERLAY, True, SIGNED),  # the sign is extended, and the overlay turns bits of it
        (words(SIGNED) & 0x0FFF | OVERLAY, True, SIGNED),  # the sign is not extended
    ],
    ids=["overlay", "every pixel", "signed", "signed, clean"],
)
def test_bits_above_bits_stored_are_cut_off_and_told(encode: Any, codes: Any, signed: bool, expected: Any) -> None:
    decoder = FrameDecoder(put(image(12, signed), encode, codes))
    np.testing.assert_array_equal(decoder.decode(0), expected)
    assert decoder.has_foreign_bits


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=list(ENCODERS))
@pytest.mark.parametrize(
    ("codes", "signed", "expected"),
    [
        (words(VALUES), False, VALUES),
        (words(SIGNED), True, SIGNED),
        (words(SIGNED) & 0x0FFF, True, SIGNED),
        (words(abs(SIGNED) % 2048), True, abs(SIGNED) % 2048),
    ],
    ids=["unsigned", "signed", "signed, clean", "signed, none negative"],
)
def test_pixels_with_nothing_above_are_read_without_a_word(encode: Any, codes: Any, signed: bool, expected: Any) -> None:
    decoder = FrameDecoder(put(image(12, signed), encode, codes))
    np.testing.assert_array_equal(decoder.decode(0), expected)
    assert not decoder.has_foreign_bits


@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("encode", WITH_PRECISION.values(), ids=list(WITH_PRECISION))
def test_a_codestream_of_as_many_bits_as_the_header_says_is_read(encode: Any, bits: int) -> None:
    unsigned = VALUES % 2**bits
    np.testing.assert_array_equal(decode(put(image(bits), encode, words(unsigned), bits=bits)), unsigned)
    signed = unsigned - 2 ** (bits - 1)
    clean = words(signed) & np.uint16(2**bits - 1)
    np.testing.assert_array_equal(decode(put(image(bits, signed=True), encode, clean, bits=bits)), signed)


@pytest.mark.parametrize("encode", WITH_PRECISION.values(), ids=list(WITH_PRECISION))
def test_a_codestream_of_fewer_bits_is_read_where_the_sign_is_certain(encode: Any) -> None:
    np.testing.assert_array_equal(decode(put(image(16), encode, words(VALUES), bits=12)), VALUES)
    positive = VALUES // 2
    np.testing.assert_array_equal(decode(put(image(16, signed=True), encode, words(positive), bits=12)), positive)
    check_refused(put(image(16, signed=True), encode, words(VALUES), bits=12), "DCM-PIXELS", "12 bits of the 16")


def test_jpeg_2000_with_a_sign_has_it_whatever_its_bits() -> None:
    for precision in (12, 16):
        for stored in (12, 14, 16):
            ds = put(image(stored, signed=True), encode_jpeg2000, SIGNED.astype(np.int16), bits=precision)
            np.testing.assert_array_equal(decode(ds), SIGNED)


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=list(ENCODERS))
def test_a_sign_that_the_header_denies_is_refused(encode: Any) -> None:
    check_refused(put(image(12), encode, words(SIGNED)), "DCM-PIXELS", "PixelRepresentation")


def test_a_sign_in_jpeg_2000_that_the_header_denies_is_refused_only_if_used() -> None:
    for precision in (12, 16):
        check_refused(put(image(12), encode_jpeg2000, SIGNED.astype(np.int16), bits=precision), "DCM-PIXELS", "negative")
        positive = abs(SIGNED) % 2048
        decoded = decode(put(image(12), encode_jpeg2000, positive.astype(np.int16), bits=precision))
        np.testing.assert_array_equal(decoded, positive)


@pytest.mark.parametrize("encode", WITH_PRECISION.values(), ids=list(WITH_PRECISION))
def test_another_size_or_number_of_values_is_refused(encode: Any) -> None:
    check_refused(put(image(12, shape=SHAPE[::-1]), encode, words(VALUES)), "DCM-PIXELS", "Rows and Columns say 36 x 40")
    check_refused(put(image(12, shape=(40, 35)), encode, words(VALUES)), "DCM-PIXELS")
    narrow = put(image(8), encode, words(VALUES))
    narrow.BitsAllocated = 8
    check_refused(narrow, "DCM-PIXELS", "BitsAllocated says 8")
    colours = put(image(12), encode, words(VALUES))
    colours.SamplesPerPixel, colours.PhotometricInterpretation, colours.PlanarConfiguration = 3, "RGB", 0
    check_refused(colours, "DCM-PIXELS", "SamplesPerPixel says 3")


def test_rle_of_another_number_of_bytes_is_refused() -> None:
    narrow = put(image(8), LOSSLESS["RLE"], words(VALUES))
    narrow.BitsAllocated = 8
    check_refused(narrow, "DCM-PIXELS", "2 value(s)")


def test_lossy_pixels_beyond_their_bits_are_refused_as_they_would_wrap() -> None:
    ramp = np.linspace(0, 4095, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    ramp[:, ::2] = 4095  # decoded to 4095 more or less
    ds = put(image(12), encode_jpeg2000, words(ramp), bits=16, compression_ratios=[8.0])
    check_refused(ds, "DCM-PIXELS", "with loss")


def test_padding_beyond_bits_stored_is_refused_and_other_padding_is_kept() -> None:
    codes = words(VALUES)
    codes[0] = 0xF830
    ds = put(image(12), None, codes)
    ds.add_new("PixelPaddingValue", "US", 0xF830)
    check_refused(ds, "DCM-PIXELS", "PixelPaddingValue")
    signed = words(SIGNED)
    signed[0] = words(np.array(-2000))
    ds = put(image(16, signed=True), None, signed)
    ds.add_new("PixelPaddingValue", "SS", -2000)
    assert (decode(ds)[0] == -2000).all()


def test_a_declared_overlay_is_expected() -> None:
    ds = put(image(12), encode_jpeg_ls, words(VALUES) | OVERLAY)
    ds.add_new((0x6000, 0x0102), "US", 12)
    decoder = FrameDecoder(ds)
    np.testing.assert_array_equal(decoder.decode(0), VALUES)
    assert not decoder.has_foreign_bits


@pytest.mark.parametrize("encode", LOSSLESS.values(), ids=list(LOSSLESS))
@pytest.mark.parametrize("cut", [lambda frame: frame[: len(frame) // 2], lambda frame: frame[:900] + bytes(len(frame) - 900)])
def test_a_frame_that_is_cut_off_or_filled_up_with_zeros_is_never_read(tmp_path: Path, encode: Any, cut: Any) -> None:
    syntax, frame = encode(words(VALUES))
    (path,) = write_slices(tmp_path, stack(1), lambda k, ds: put_frame(ds, (syntax, cut(frame))), shape=SHAPE)
    with pytest.raises(DataError, match="DCM-TRUNCATED"):
        read_dicom_image(path)


def test_several_frames_in_an_image_of_one_are_refused() -> None:
    ds = image(12)
    syntax, frame = encode_jpeg_ls(words(VALUES))
    put_frame(ds, (syntax, frame))
    frame += bytes(len(frame) % 2)
    ds.PixelData = encapsulate([frame, frame])
    check_refused(ds, "DCM-PIXELS", "NumberOfFrames")
    ds.PixelData = encapsulate([frame], fragments_per_frame=3)
    np.testing.assert_array_equal(decode(ds), VALUES)


def test_a_codestream_in_a_jp2_file_is_read() -> None:
    ds = put(image(12), encode_jpeg2000, words(VALUES) | OVERLAY, codec_format=1)
    np.testing.assert_array_equal(decode(ds), VALUES)


def test_high_throughput_jpeg_2000_is_held_to_the_same() -> None:
    rows = np.broadcast_to((np.arange(32) % 8 * 500)[:, np.newaxis], (32, 32))
    ds = image(12, shape=(32, 32))
    put_frame(ds, (HTJ2KLossless, HTJ2K_FRAME))
    decoder = FrameDecoder(ds)
    np.testing.assert_array_equal(decoder.decode(0), rows)
    assert decoder.has_foreign_bits
    signed = image(12, signed=True, shape=(32, 32))
    put_frame(signed, (HTJ2KLossless, HTJ2K_FRAME))
    np.testing.assert_array_equal(decode(signed), np.where(rows > 2047, rows - 4096, rows))


def test_8_bits_of_jpeg_are_read_into_16() -> None:
    grey = (VALUES >> 4).astype(np.uint8)
    for allocated, stored in ((8, 8), (16, 8), (16, 12)):
        ds = image(stored)
        ds.BitsAllocated = allocated
        assert np.abs(decode(put(ds, encode_jpeg, grey)).astype(int) - grey).max() <= 2


def _overlay_slice(encode: Any) -> Change:
    def change(k: int, ds: Any) -> None:
        stored = np.round(slice_values(np.array(ds.ImagePositionPatient, float), shape=SHAPE)).astype(np.int64) + 1024
        ds.RescaleSlope, ds.RescaleIntercept, ds.BitsStored, ds.HighBit = "1", "-1024", 12, 11
        put(ds, encode, words(stored) | OVERLAY)

    return change


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=list(ENCODERS))
def test_a_series_with_old_overlays_has_its_hounsfield_units(tmp_path: Path, encode: Any) -> None:
    volume = read_series(write_slices(tmp_path, None, _overlay_slice(encode), shape=SHAPE))
    expected = slice_values(stack()[4], shape=SHAPE)
    np.testing.assert_allclose(volume.array[0, :, :, 4].T, expected, atol=0.5)
    (warning,) = volume.warnings
    assert warning.code == "DCM-HIGH-BITS"
    assert "10 image(s)" in warning.what


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=list(ENCODERS))
def test_masks_and_images_in_2d_are_read_through_the_same_door(tmp_path: Path, encode: Any) -> None:
    def change(k: int, ds: Any) -> None:
        ds.RescaleSlope, ds.RescaleIntercept, ds.BitsStored, ds.HighBit = "1", "0", 12, 11
        ds.PixelSpacing = [1, 1]
        put(ds, encode, words(VALUES % 4) | OVERLAY)

    (path,) = write_slices(tmp_path, stack(1), change, shape=SHAPE)
    np.testing.assert_array_equal(read_dicom_mask(path)[0], (VALUES % 4).T)
    volume = read_dicom_image(path)
    np.testing.assert_array_equal(volume.array[0], (VALUES % 4).T)
    assert [warning.code for warning in volume.warnings] == ["DCM-HIGH-BITS"]


def test_damaged_codestreams_are_damaged_whatever_is_missing() -> None:
    for encode in (encode_jpeg_ls, encode_jpeg2000, encode_jpeg_lossless, LOSSLESS["RLE"]):
        syntax, frame = encode(words(VALUES))
        parse_codestream(frame, syntax, 16)
        for size in (0, 1, 3, 10, 30, 60):
            with pytest.raises(ValueError, match=r"frame|codestream|segments|marker"):
                parse_codestream(frame[:size], syntax, 16)
