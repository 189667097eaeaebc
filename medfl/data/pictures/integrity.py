"""Checks that a picture file is whole: of what decoders do not look at, and fill with grey in silence."""

from __future__ import annotations

import re
import struct
import zlib

from medfl.errors import DataError

_PNG_SIGNATURE_BYTES = 8
_STEP_BYTES = 1 << 20
_END_OF_ENTROPY = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # a marker that is neither a restart nor stuffing
_RESTARTS = re.compile(rb"\xff([\xd0-\xd7])")
_JPEG_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length: TEM, RST0 to RST7, SOI
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9


def check_png(data: bytes) -> None:
    """Check the CRC of each chunk of a PNG file up to its end; Pillow checks that of the pixels when it inflates them.

    Raises
    ------
    DataError
        ``FILE-DAMAGED``; ``IMG-FORMAT`` when the file ends early.
    """
    view, place = memoryview(data), _PNG_SIGNATURE_BYTES
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise damaged_error()
        if data[place + 4 : place + 8] == b"IEND":
            return
        place = end + 4
    raise cut_error()


def check_deflated(data: bytes | memoryview, most: int) -> None:
    """Check the Adler-32 of compressed data, inflating at most so many bytes.

    Raises
    ------
    DataError
        ``FILE-DAMAGED``.
    """
    stream, count, rest = zlib.decompressobj(), 0, bytes(data)
    try:
        while not stream.eof:
            piece = stream.decompress(rest, _STEP_BYTES)
            rest = stream.unconsumed_tail
            count += len(piece)
            if count > most or not (piece or rest):
                raise damaged_error()
    except zlib.error:
        raise damaged_error() from None


def check_jpeg(data: bytes) -> None:
    """Check that a JPEG file has all its markers up to the end of the image (ITU-T T.81, annex B).

    Decoders fill what is missing with grey, and take the zeros of an interrupted copy for pixels.

    Raises
    ------
    DataError
        ``FILE-DAMAGED`` for restart markers that are missing; ``IMG-FORMAT`` when the file ends early.
    """
    place, scanned = 2, False
    while (found := data.find(b"\xff", place)) >= 0:
        place = found + 1
        if place >= len(data) or data[place] in (0x00, 0xFF):
            continue
        marker, place = data[place], place + 1
        if marker == _JPEG_END and scanned:
            return
        if marker in _JPEG_ALONE or marker == _JPEG_END:
            continue
        if place + 2 > len(data):
            break
        place += int(struct.unpack_from(">H", data, place)[0])
        if marker == _JPEG_SCAN:
            scanned = True
            end = _END_OF_ENTROPY.search(data, place)
            if end is None:
                break
            _check_restarts(data[place : end.start()])
            place = end.start()
    raise cut_error()


def _check_restarts(scan: bytes) -> None:
    numbers = [found[0] & 7 for found in _RESTARTS.findall(scan)]
    if numbers != [index % 8 for index in range(len(numbers))]:
        raise damaged_error()


def damaged_error() -> DataError:
    """Return the error for a file whose content is not what was written."""
    what = "the picture does not fit its own checksum, or a part is missing from its middle (damaged)."
    return DataError("FILE-DAMAGED", what, "Copy it again from where it was right, or export it again.")


def cut_error() -> DataError:
    """Return the error for a file that ends early."""
    return DataError("IMG-FORMAT", "the picture file ends early (damaged or cut).", "Copy or export it again.")
