"""What the header of an image says about its pixels, checked before any is decoded (PS3.3 C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, JPEG2000TransferSyntaxes

from medfl.errors import DataError

_EXPORT_AGAIN = "Export the images again from the PACS, uncompressed if it can."
_REQUIRED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
_REQUIRED_OF_INTEGERS = ("BitsStored", "PixelRepresentation")
_TAGS = {
    keyword: Tag(keyword)
    for keyword in (*_REQUIRED, *_REQUIRED_OF_INTEGERS, "PhotometricInterpretation", "HighBit", "NumberOfFrames")
}
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_MAX_PADDING = 3  # bytes, to an even length (PS3.5 section 8.1.1) or to a word
_BLOCK, _MAX_FILLING = 512, 4096  # bytes of a block, and fewer than which writers fill up with one value
_WORDS = (1, 8, 16, 32, 64)  # BitsAllocated


@dataclass(frozen=True)
class PixelDescription:
    """Attributes of the Image Pixel module, which agree with each other.

    Parameters
    ----------
    rows, columns, samples : int
        Size, and values of a pixel.
    allocated, stored : int
        BitsAllocated and BitsStored; for pixels in floating point, both are the size of a value.
    is_signed : bool
        PixelRepresentation.
    photometric : str
        PhotometricInterpretation.
    is_float : bool
        Whether the pixels are floating-point numbers.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    is_signed: bool
    photometric: str
    is_float: bool = False


def header_error(what: str) -> DataError:
    """Return the error for attributes that do not describe pixels."""
    return DataError("DCM-HEADER", what, _EXPORT_AGAIN)


def pixels_error(what: str) -> DataError:
    """Return the error for pixels that are not what the header says."""
    return DataError("DCM-PIXELS", what, _EXPORT_AGAIN)


def colour_error(what: str) -> DataError:
    """Return the error for colours that cannot be known."""
    return DataError("DCM-COLORSPACE", what, "Export the images as RGB or greyscale, uncompressed.")


def describe_pixels(dataset: Dataset) -> PixelDescription:
    """Return what the header says about the pixels, if it does not contradict itself.

    Raises
    ------
    DataError
        ``DCM-HEADER`` for a missing or impossible attribute, ``DCM-PIXELS`` when size or byte order of the pixels are not
        what it says, ``DCM-COLORSPACE`` for colours that nobody can know.
    """
    is_float = "PixelData" not in dataset
    required = (*_REQUIRED, *(() if is_float else _REQUIRED_OF_INTEGERS))
    found = {keyword: _value(dataset, keyword) for keyword in (*required, "PhotometricInterpretation", "HighBit")}
    photometric = str(found.pop("PhotometricInterpretation") or "").strip().upper()
    missing = [keyword for keyword in required if found[keyword] in (None, "")]
    missing += [] if photometric else ["PhotometricInterpretation"]
    if missing:
        raise header_error(f"{', '.join(missing)} missing, so the pixels cannot be understood.")
    try:
        rows, columns, samples, allocated = (int(found[keyword]) for keyword in _REQUIRED)
        stored, sign = (allocated, 0) if is_float else (int(found[keyword]) for keyword in _REQUIRED_OF_INTEGERS)
        high = stored - 1 if is_float or found["HighBit"] in (None, "") else int(found["HighBit"])
    except (TypeError, ValueError):
        raise header_error("an attribute that describes the pixels is not a number.") from None
    pixels = PixelDescription(rows, columns, samples, allocated, stored, sign == 1, photometric, is_float)
    _check_bits(pixels, high, sign)
    _check_colours(pixels, dataset)
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _check_native(pixels, dataset)
    return pixels


def _value(dataset: Dataset, keyword: str) -> Any:
    element = dataset.get(_TAGS[keyword])  # a tag is found faster than a keyword
    return None if element is None else element.value


def _check_bits(pixels: PixelDescription, high: int, sign: int) -> None:
    if pixels.allocated not in _WORDS:
        raise header_error(f"BitsAllocated is {pixels.allocated}; medfl reads 1, 8, 16, 32 and 64 (PS3.5 section 8.1.1).")
    if not 1 <= pixels.stored <= pixels.allocated:
        raise header_error(f"BitsStored is {pixels.stored}, which does not fit into the {pixels.allocated} bits of a pixel.")
    if high != pixels.stored - 1:
        what = "HighBit says that the grey values are not in the lowest bits, where they must be (PS3.5 section 8.1.1)."
        raise header_error(what)
    if sign not in (0, 1) or pixels.rows < 1 or pixels.columns < 1:
        raise header_error("PixelRepresentation, Rows or Columns has a value that does not exist.")


def _check_colours(pixels: PixelDescription, dataset: Dataset) -> None:
    photometric = pixels.photometric
    if photometric not in (*_GREY, *_COLOURS):
        raise colour_error("PhotometricInterpretation is one that medfl does not read (PS3.3 C.7.6.3.1.2).")
    if (pixels.samples, photometric in _COLOURS) not in ((1, False), (3, True)):
        what = f"PhotometricInterpretation does not fit the {pixels.samples} value(s) that SamplesPerPixel gives a pixel."
        raise header_error(what)
    if pixels.samples == 1:
        return
    if pixels.is_signed or pixels.is_float or pixels.allocated not in (8, 16):
        raise header_error("colours have a sign, or a number of bits that colours cannot have.")
    if photometric in ("YBR_FULL", "YBR_FULL_422") and pixels.stored != 8:
        raise colour_error("luminance and chrominance of more or fewer than 8 bits are not defined (PS3.3 C.7.6.3.1.2).")
    if photometric in ("YBR_RCT", "YBR_ICT") and dataset.file_meta.TransferSyntaxUID not in JPEG2000TransferSyntaxes:
        raise colour_error("PhotometricInterpretation is one of JPEG 2000, but the pixels are not compressed so.")


def _check_native(pixels: PixelDescription, dataset: Dataset) -> None:
    """Check uncompressed pixels: their length, and the order of colours and bytes."""
    if pixels.samples == 3:
        planar = dataset.get("PlanarConfiguration")
        if planar not in (0, 1) or (pixels.photometric == "YBR_FULL_422" and (planar == 1 or pixels.columns % 2)):
            raise header_error("PlanarConfiguration is missing or contradicts PhotometricInterpretation.")
    if not pixels.is_float:
        _check_byte_order(pixels, UID(dataset.file_meta.TransferSyntaxUID), str(dataset["PixelData"].VR))
    frames = max(int(_value(dataset, "NumberOfFrames") or 1), 1)
    bits = pixels.rows * pixels.columns * pixels.samples * pixels.allocated * frames
    if pixels.photometric == "YBR_FULL_422":
        bits = bits * 2 // 3  # two pixels share their chrominance (PS3.3 C.7.6.3.1.2)
    data = next((dataset[keyword].value for keyword in _PIXEL_KEYWORDS if keyword in dataset), None) or b""
    surplus = data[-(-bits // 8) :]
    if len(surplus) > _MAX_PADDING and not _is_padding(surplus, pixels, filled=len(data) % _BLOCK == 0):
        raise pixels_error("there are more pixels than Rows, Columns, BitsAllocated and NumberOfFrames say.")


def _is_padding(surplus: bytes, pixels: PixelDescription, *, filled: bool) -> bool:
    """Return whether bytes behind the pixels fill something up; whole rows or columns may be the dark rest of an image."""
    if surplus.strip(surplus[:1]) or len(surplus) >= _MAX_FILLING:
        return False
    if filled and len(surplus) < _BLOCK and not surplus.strip(b"\0"):
        return True
    depth = pixels.samples * max(pixels.allocated // 8, 1)
    return len(surplus) % (pixels.columns * depth) != 0 and len(surplus) % (pixels.rows * depth) != 0


def _check_byte_order(pixels: PixelDescription, syntax: UID, vr: str) -> None:
    """Refuse big endian pixels in which nothing says how far bytes are swapped (PS3.5 section 7.3 and annex A.3)."""
    if syntax.is_little_endian or pixels.allocated == 8:
        return
    if vr != "OW" or pixels.allocated != 16:
        what = "the file is big endian, but its pixels are not words of 16 bits (OW), so the order of their bytes is unknown."
        raise pixels_error(what)
