"""Checks that a compressed frame is whole: of what decoders pass over, and fill up in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from struct import unpack_from

from PIL import Image

from medfl.data.pictures.integrity import check_jpeg
from medfl.data.stderr_words import hold_back_stderr

_JPEG_SCAN, _JPEG_END, _JPEG_PROGRESSIVE = b"\xff\xda", b"\xff\xd9", b"\xff\xc2"  # ITU-T T.81 table B.1
_JPEG_SURPLUS = 64  # bytes that may lie behind the last block
_JPEG_LOOKAHEAD = b"\xfe" * 16  # codes so long that they make up no more than a few blocks
_RLE_HEADER_BYTES = 64
_COMPLAINT = b"Corrupt JPEG data"  # how libjpeg begins what it says of a scan that is too short or too long
_HOLE = bytes(512)  # a block that was never written: data of an arithmetic coder do not look so


def check_rle(frame: bytes, pixels: int) -> None:
    """Check that each segment of an RLE frame has as many bytes as the image has pixels, and ends there (PS3.5 annex G).

    Parameters
    ----------
    frame : bytes
        The frame.
    pixels : int
        Rows times Columns.

    Raises
    ------
    ValueError
        When it is damaged.
    """
    count, *offsets = unpack_from("<16L", frame)
    starts = [*offsets[:count], len(frame)]
    if (
        not 1 <= count <= len(offsets)
        or starts[0] != _RLE_HEADER_BYTES
        or sorted(set(starts)) != starts
        or any(offsets[count:])
    ):
        raise ValueError("the segments of a frame are not where its header says")
    for start, end in pairwise(starts):
        used = _count_packed(frame[start:end], pixels)
        if used < 0 or frame[start + used : end].strip(b"\0"):
            raise ValueError("a segment of a frame is longer or shorter than the image")


def _count_packed(segment: bytes, pixels: int) -> int:
    """Return how many bytes of a segment the runs take that make up so many pixels; -1 if none do (PS3.5 section G.3.2)."""
    place, unpacked, size = 0, 0, len(segment)
    while unpacked < pixels and place < size:
        code = segment[place]
        if code < 128:
            place += code + 2
            unpacked += code + 1
        elif code > 128:
            place += 2
            unpacked += 257 - code
        else:
            place += 1
    return place if unpacked == pixels and place <= size else -1


def check_jpeg2000(frame: bytes) -> None:
    """Check that no block of JPEG 2000 was left empty.

    Raises
    ------
    ValueError
        When one was.
    """
    if _HOLE in frame.rstrip(b"\0"):
        raise ValueError("a part of a frame is empty")


def decode_whole_jpeg(frame: bytes) -> Image.Image:
    """Decode a JPEG frame of 8 bits that is neither too short nor too long for its size.

    A decoder that meets the end marker fills up what is missing. So the marker is taken away: then a whole frame is decoded,
    with a few bytes to look ahead, and one that is cut is not; and without its last bytes, no frame is whole.

    Raises
    ------
    DataError, OSError, ValueError
        When it is damaged.
    """
    check_jpeg(frame)
    image = Image.open(BytesIO(frame), formats=("JPEG",))
    start, end = frame.find(_JPEG_SCAN), frame.rfind(_JPEG_END)
    if frame.count(_JPEG_SCAN) > 1 or _JPEG_PROGRESSIVE in frame[:start]:
        return image  # the decoder needs the end marker to know that no scan follows
    data = frame[:end].rstrip(b"\xff")  # fill bytes
    if _is_decodable(data[:-_JPEG_SURPLUS]):
        raise ValueError("a frame is longer than its image")
    image = Image.open(BytesIO(data + _JPEG_LOOKAHEAD), formats=("JPEG",))
    image.load()
    return image


def _is_decodable(data: bytes) -> bool:
    try:
        Image.open(BytesIO(data), formats=("JPEG",)).load()
    except (OSError, SyntaxError):
        return False
    return True


@contextmanager
def refuse_complaints() -> Iterator[None]:
    """Raise an error for what libjpeg within GDCM only says on the error output; it is kept off the terminal.

    Raises
    ------
    ValueError
        When libjpeg found the frame damaged.
    """
    with hold_back_stderr() as words:
        yield
    if _COMPLAINT in words:
        raise ValueError("a frame is damaged")
