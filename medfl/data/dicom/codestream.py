"""What a compressed frame says about itself: its size, its bits, its sign and its colours, read from its own header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

# markers of JPEG (ISO/IEC 10918-1 table B.1), JPEG-LS (14495-1) and JPEG 2000 (15444-1 table A.2)
_SOI, _EOI, _SOS, _APP0, _APP14 = 0xFFD8, b"\xff\xd9", 0xFFDA, 0xFFE0, 0xFFEE
_SOF_LOSSLESS, _SOF_JPEG_LS = 0xFFC3, 0xFFF7
_SOFS = {*range(0xFFC0, 0xFFD0), _SOF_JPEG_LS} - {0xFFC4, 0xFFC8, 0xFFCC}
_SOC, _SIZ, _COD, _SOT = 0xFF4F, 0xFF51, 0xFF52, 0xFF90
_JP2_SIGNATURE, _JP2_CODESTREAM = b"\x00\x00\x00\x0cjP  ", b"jp2c"


@dataclass(frozen=True)
class Codestream:
    """Parameters that a compressed frame gives itself.

    Parameters
    ----------
    samples : int
        Components of a pixel.
    precision : int
        Bits of a sample.
    rows, columns : int
        Size; 0 for RLE, which gives none.
    is_signed : bool
        Whether the samples have a sign. Only JPEG 2000 can say so.
    is_lossy : bool
        Whether values may differ from those that were compressed.
    is_rgb, is_ybr : bool
        Whether JPEG says that the samples are red, green and blue, or luminance and chrominance: by a marker of JFIF or Adobe,
        by the names of the components, or because some have fewer pixels. Often it says nothing.
    has_rgb_names : bool
        Whether the components are named R, G and B, which no writer of luminance and chrominance does.
    is_transformed : bool
        Whether a decoder undoes a colour transform of JPEG 2000.
    """

    samples: int
    precision: int
    rows: int = 0
    columns: int = 0
    is_signed: bool = False
    is_lossy: bool = False
    is_rgb: bool = False
    is_ybr: bool = False
    has_rgb_names: bool = False
    is_transformed: bool = False


def parse_codestream(frame: bytes, syntax: UID, bits_allocated: int) -> Codestream:
    """Read the parameters of a compressed frame.

    Parameters
    ----------
    frame : bytes
        The frame, its fragments joined.
    syntax : UID
        The transfer syntax.
    bits_allocated : int
        BitsAllocated: for RLE, which compresses the bytes of samples one by one (PS3.5 annex G).

    Raises
    ------
    ValueError
        When the frame is damaged or incomplete.
    """
    try:
        if syntax == RLELossless:
            return Codestream(*_parse_rle(frame, bits_allocated))
        if syntax in JPEG2000TransferSyntaxes:
            return _parse_jpeg2000(frame)
        if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
            return _parse_jpeg(frame)
    except (IndexError, OverflowError, ArithmeticError):
        raise ValueError("a frame is damaged") from None
    raise ValueError("unknown compression")


def _parse_rle(frame: bytes, bits_allocated: int) -> tuple[int, int]:
    (segments,) = unpack_from("<L", _require(frame, 0, 64))
    samples, rest = divmod(segments, max(bits_allocated // 8, 1))
    if rest or not samples:
        raise ValueError("the number of segments does not fit")
    return samples, bits_allocated


def _require(data: bytes, start: int, size: int) -> bytes:
    part = data[start : start + size]
    if len(part) < size:
        raise ValueError("a frame ends within its header")
    return part


def _segments(data: bytes, first: int, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, content and end of each marker segment up to the compressed data, from the first marker on."""
    if int.from_bytes(_require(data, start, 2), "big") != first:
        raise ValueError("not a codestream")
    position = start + 2
    while True:
        while _require(data, position, 2) == b"\xff\xff":  # fill bytes
            position += 1
        marker, length = unpack_from(">HH", _require(data, position, 4))
        if marker < 0xFF00 or length < 2:
            raise ValueError("not a marker")
        yield marker, _require(data, position + 4, length - 2), position + 2 + length
        position += 2 + length


def _check_end(frame: bytes, start: int) -> None:
    """Check that the end marker is there, which cannot occur within compressed data: decoders fill up what is cut off."""
    if frame.rfind(_EOI, start) < 0:
        raise ValueError("the end of a frame is missing")


def _parse_jpeg(frame: bytes) -> Codestream:
    is_jfif, adobe, size, ids, factors, sof, near = False, -1, (0, 0, 0), b"", set[int](), 0, 0
    for marker, content, end in _segments(frame, _SOI, 0):
        if marker == _APP0:
            is_jfif |= content.startswith(b"JFIF\0")
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            adobe = content[11]
        elif marker in _SOFS:
            sof, size = marker, unpack_from(">BHH", _require(content, 0, 6))
            components = _require(content, 6, 3 * content[5])
            ids, factors = components[::3], set(components[1::3])
        elif marker == _SOS:
            _check_end(frame, end)
            near = _require(content, 1 + 2 * content[0], 1)[0] if sof == _SOF_JPEG_LS else 0
            break
    if not sof:
        raise ValueError("a frame has no size")
    precision, rows, columns = size
    return Codestream(
        samples=len(ids),
        precision=precision,
        rows=rows,
        columns=columns,
        is_lossy=near > 0 or sof not in (_SOF_LOSSLESS, _SOF_JPEG_LS),
        is_rgb=len(ids) == 3 and (adobe == 0 or ids == b"RGB"),
        has_rgb_names=ids == b"RGB",
        is_ybr=len(ids) == 3 and (is_jfif or adobe == 1 or len(factors) > 1),
    )


def _parse_jpeg2000(frame: bytes) -> Codestream:
    start, size, components, is_transformed, is_lossy = _find_codestream(frame), (0,) * 4, b"", False, False
    for marker, content, end in _segments(frame, _SOC, start):
        if marker == _SIZ:
            size = unpack_from(">4L", _require(content, 2, 16))
            components = _require(content, 36, 3 * unpack_from(">H", _require(content, 34, 2))[0])
        elif marker == _COD:
            is_transformed, is_lossy = _require(content, 4, 6)[0] > 0, content[9] == 0
        elif marker == _SOT:
            _check_end(frame, end)
            break
    depths = set(components[::3])
    if len(depths) != 1 or set(components[1::3]) | set(components[2::3]) != {1}:
        raise ValueError("the components differ in their bits or their size")
    (depth,) = depths
    width, height, left, top = size
    return Codestream(
        samples=len(components) // 3,
        precision=(depth & 0x7F) + 1,
        rows=height - top,
        columns=width - left,
        is_signed=depth > 0x7F,
        is_lossy=is_lossy,
        is_transformed=is_transformed,
    )


def _find_codestream(frame: bytes) -> int:
    """Return where the codestream begins; some writers put it into a JP2 file, which PS3.5 A.4.4 forbids."""
    if not frame.startswith(_JP2_SIGNATURE):
        return 0
    position = 0
    while True:
        length, kind = unpack_from(">L4s", _require(frame, position, 8))
        if kind == _JP2_CODESTREAM:
            return position + 8
        if length < 8:
            raise ValueError("a box has no length")
        position += length
