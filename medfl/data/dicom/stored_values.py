"""Stored values of images: what a decoder returns, brought to what the header says a pixel is, or refused.

Decoders return what is in a codestream, whatever the header says: bits above BitsStored, the other sign, another size, other
colours. Here is the one place where pixels are decoded, so that the same file has the same values in every transfer syntax.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from medfl.data.dicom.codestream import Codestream, parse_codestream
from medfl.data.dicom.frame_integrity import check_jpeg2000, check_rle, decode_whole_jpeg, refuse_complaints
from medfl.data.dicom.pixel_description import PixelDescription, colour_error, describe_pixels, pixels_error

Stored = NDArray[Any]

_LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)  # PS3.3 C.9.2
_OVERLAY_BIT_POSITION = 0x0102  # retired: an overlay in unused bits of the pixels
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")  # of codestreams and JP2 files
_RLE_START = re.compile(rb"[\x01-\x0f]\0\0\0\x40\0\0\0", re.DOTALL)  # number of segments, and where the first begins


class FrameDecoder:
    """Decoder of the frames of one image.

    Parameters
    ----------
    dataset : Dataset
        The whole file, its pixels still compressed.

    Attributes
    ----------
    has_foreign_bits : bool
        Whether a decoded frame held something in the bits above BitsStored, other than overlays that the header declares.
    is_lossy : bool
        Whether the compression of a decoded frame changes values.

    Raises
    ------
    DataError
        ``DCM-HEADER``, ``DCM-PIXELS`` or ``DCM-COLORSPACE`` when the header does not describe pixels.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._syntax = UID(dataset.file_meta.TransferSyntaxUID)
        self._pixels = describe_pixels(dataset)
        if dataset.PhotometricInterpretation != self._pixels.photometric:  # in lower case, which pydicom does not know
            dataset.PhotometricInterpretation = self._pixels.photometric
        self.has_foreign_bits = False
        self.is_lossy = False
        if self._syntax.is_encapsulated:
            _check_number_of_frames(dataset)

    def decode(self, index: int) -> Stored:
        """Return the stored values of a frame, counted from 0.

        Returns
        -------
        ndarray
            (rows, columns) with the bits and the sign of the header, or (rows, columns, 3) of red, green and blue.

        Raises
        ------
        DataError
            ``DCM-PIXELS`` or ``DCM-COLORSPACE`` when the pixels are not what the header says.
        Exception
            Of a decoder, when the pixels are damaged.
        """
        pixels = self._pixels
        if not self._syntax.is_encapsulated:
            values = self._run_decoder(index)
            if pixels.is_float or pixels.allocated == 1:
                return values
            stream = Codestream(pixels.samples, pixels.allocated)
            if pixels.allocated > 8 and str(self._dataset["PixelData"].VR) == "OB":
                _check_not_swapped(values, pixels.stored)
        else:
            frame = get_frame(
                self._dataset.PixelData,
                index,
                number_of_frames=int(self._dataset.get("NumberOfFrames") or 1),
                extended_offsets=_extended_offsets(self._dataset),
            )
            stream = parse_codestream(frame, self._syntax, pixels.allocated)
            self.is_lossy |= stream.is_lossy
            _check_codestream(stream, pixels)
            if self._syntax == RLELossless:
                check_rle(frame, pixels.rows * pixels.columns)
            elif self._syntax in JPEG2000TransferSyntaxes:
                check_jpeg2000(frame)
            if pixels.samples == 3:
                _check_colour_space(stream, pixels, is_jpeg=self._syntax in _LOSSY_JPEG)
            if self._syntax in _LOSSY_JPEG and stream.precision == 8:
                image = decode_whole_jpeg(frame)
                return self._enforce_bits(np.asarray(image.convert("RGB" if stream.samples == 3 else "L")), stream)
            plugin = _choose_plugin(self._syntax, stream)
            with refuse_complaints() if plugin == "gdcm" else nullcontext():
                values = self._run_decoder(index, plugin, bits_stored=stream.precision)
        return self._enforce_bits(values, stream)

    def _run_decoder(self, index: int, plugin: str = "", **options: Any) -> Stored:
        options["correct_unused_bits"] = False
        if self._syntax.is_encapsulated:
            options |= {"apply_jls_sign_correction": False, "apply_j2k_sign_correction": False, "planar_configuration": 0}
        if not self._pixels.is_float:
            options["pixel_representation"] = 0  # the codes as they are: the sign is set here
        try:
            values, _ = get_decoder(self._syntax).as_array(self._dataset, index=index, decoding_plugin=plugin, **options)
        except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException:  # a decoder in Rust panics on damaged pixels: that must not end the whole run
            raise ValueError("a decoder failed") from None
        return np.asarray(values, dtype=values.dtype.newbyteorder("="))

    def _enforce_bits(self, codes: Stored, stream: Codestream) -> Stored:
        """Return the values that BitsStored and PixelRepresentation give to the decoded codes (PS3.5 section 8.1.1)."""
        pixels, precision = self._pixels, stream.precision
        if stream.is_signed:
            codes = codes & _ones(codes, precision)  # decoders may have extended the sign
            if not pixels.is_signed and (codes >> (precision - 1)).any():
                raise pixels_error("the compressed pixels are negative, but PixelRepresentation says that none can be.")
        if precision < pixels.stored:
            has_top_bit = bool((codes >> (precision - 1)).any())
            if pixels.is_signed and has_top_bit and not stream.is_signed:
                what = f"the compressed pixels have {precision} bits of the {pixels.stored} that BitsStored says, and a sign"
                raise pixels_error(f"{what} that may be in either's highest bit.")
            return _extend_sign(codes, precision) if stream.is_signed and pixels.is_signed else codes
        if precision > pixels.stored and codes.max() >> pixels.stored:
            low = codes & _ones(codes, pixels.stored)
            self._check_foreign_bits(codes, low, stream)
            codes = low
        return _extend_sign(codes, pixels.stored) if pixels.is_signed else codes

    def _check_foreign_bits(self, codes: Stored, low: Stored, stream: Codestream) -> None:
        pixels = self._pixels
        high = codes >> pixels.stored
        is_negative = (low >> (pixels.stored - 1)).astype(bool)
        extended = np.where(is_negative, _ones(high, stream.precision - pixels.stored), 0)
        if pixels.is_signed and ((high == 0) | (high == extended)).all():
            return
        if not pixels.is_signed and (high == extended).all():
            raise pixels_error("the pixels have a sign, but PixelRepresentation says that they have none.")
        padding = self._dataset.get("PixelPaddingValue")
        if isinstance(padding, int) and (codes[codes != low] == padding & ((1 << stream.precision) - 1)).any():
            raise pixels_error(f"PixelPaddingValue does not fit into the {pixels.stored} bits that BitsStored says.")
        if stream.is_lossy:
            what = f"pixels that are compressed with loss exceed the {pixels.stored} bits that BitsStored says."
            raise pixels_error(what)
        declared = np.array(_declared_overlay_bits(self._dataset), codes.dtype)
        self.has_foreign_bits |= bool(((codes ^ low) & ~declared).any())


def _ones(like: Stored, count: int) -> Stored:
    return np.array((1 << count) - 1, dtype=like.dtype)


def _extend_sign(codes: Stored, bits: int) -> Stored:
    """Return unsigned codes as numbers in two's complement of so many bits."""
    size = 8 * codes.dtype.itemsize
    signed = (codes << np.array(size - bits, codes.dtype)).view(f"i{codes.dtype.itemsize}")
    return np.asarray(signed >> np.array(size - bits, signed.dtype))


def _declared_overlay_bits(dataset: Dataset) -> int:
    positions = [dataset.get((group, _OVERLAY_BIT_POSITION)) for group in _OVERLAY_GROUPS if (group, 0x3000) not in dataset]
    return sum({1 << int(element.value) for element in positions if element is not None and element.value})


def _check_number_of_frames(dataset: Dataset) -> None:
    fragments = islice(generate_fragments(dataset.PixelData), 1, None)  # after the offset table
    count = sum(fragment.startswith(_STARTS) or _RLE_START.match(fragment) is not None for fragment in fragments)
    if count > int(dataset.get("NumberOfFrames") or 1):
        raise pixels_error("there are more compressed frames than NumberOfFrames says.")


def _extended_offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return (offsets, lengths) if offsets and lengths else None


def _choose_plugin(syntax: UID, stream: Codestream) -> str:
    """Return the one decoder for a frame: a second one would only fill up what the first finds damaged."""
    if syntax in JPEGLSTransferSyntaxes:
        return "pyjpegls"
    if syntax in (*JPEG2000TransferSyntaxes, RLELossless) or (syntax == JPEGExtended12Bit and stream.precision > 8):
        return "pylibjpeg"
    return "gdcm" if "gdcm" in get_decoder(syntax).available_plugins else "pillow"


def _check_codestream(stream: Codestream, pixels: PixelDescription) -> None:
    if stream.samples != pixels.samples:
        what = f"a compressed pixel has {stream.samples} value(s), but SamplesPerPixel says {pixels.samples}."
        raise pixels_error(what)
    if stream.rows and (stream.rows, stream.columns) != (pixels.rows, pixels.columns):
        what = f"the compressed image has {stream.rows} x {stream.columns} pixels, but Rows and Columns say"
        raise pixels_error(f"{what} {pixels.rows} x {pixels.columns}.")
    if stream.precision > pixels.allocated:
        what = f"the compressed pixels have {stream.precision} bits, but BitsAllocated says {pixels.allocated}."
        raise pixels_error(what)


def _check_colour_space(stream: Codestream, pixels: PixelDescription, *, is_jpeg: bool) -> None:
    """Refuse colours that the header and the codestream take for different ones, or that neither makes certain."""
    is_rgb, is_jpeg2000 = pixels.photometric == "RGB", pixels.photometric in ("YBR_RCT", "YBR_ICT")
    if stream.is_transformed != is_jpeg2000 and not (is_rgb and stream.is_transformed):
        what = "PhotometricInterpretation and the compressed pixels disagree on whether colours were transformed (PS3.5 8.2.4)."
        raise colour_error(what)
    if stream.is_rgb and stream.is_ybr:
        raise colour_error("the markers of the compressed pixels contradict each other about their colours.")
    if is_jpeg and not is_rgb and stream.is_rgb and not stream.has_rgb_names:
        what = "PhotometricInterpretation says luminance and chrominance, but a marker of the compressed pixels says RGB."
        raise colour_error(what)
    if is_jpeg and is_rgb and not stream.is_rgb and not stream.is_ybr:
        what = "PhotometricInterpretation says RGB, but the compressed pixels do not, and are mostly luminance and chrominance."
        raise colour_error(what)
    if not is_jpeg and ((stream.is_ybr and is_rgb) or (stream.is_rgb and not is_rgb)):
        raise colour_error("PhotometricInterpretation and the markers of the compressed pixels name different colours.")


def _check_not_swapped(codes: Stored, stored: int) -> None:
    """Refuse pixels of several bytes, stored as bytes (OB), that are an image only with the bytes swapped."""
    shift = 8 * codes.dtype.itemsize - 8
    if stored == shift + 8 and not (codes & _ones(codes, shift)).any():
        return  # values of 8 bits in the highest byte are an image in this order as well
    roughness, swapped = (float(np.abs(np.diff(part.astype(np.float64), axis=1)).sum()) for part in (codes, codes.byteswap()))
    if swapped < 0.5 * roughness:
        raise pixels_error("the pixels are stored as bytes (OB) whose order is not the one of the transfer syntax.")
