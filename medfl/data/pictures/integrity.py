"""Checks that a picture file is whole: of what decoders do not look at, and fill with grey in silence."""

from __future__ import annotations

import re
import struct
import zlib

from medfl.data.pictures.jpeg_restarts import Frame, are_restarts_complete, read_frame
from medfl.errors import DataError

_PNG_SIGNATURE_BYTES = 8
_STEP_BYTES = 1 << 20
_END_OF_ENTROPY = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # a marker that is neither a restart nor stuffing
_JPEG_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length: TEM, RST0 to RST7, SOI
_JPEG_SCAN, _JPEG_END, _JPEG_INTERVAL = 0xDA, 0xD9, 0xDD  # SOS, EOI, DRI
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # first, step
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of the colour types of PNG


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


def check_png_pixels(data: bytes) -> None:
    """Check that the pixels of a PNG file are as many as its header says: Pillow leaves those that are missing at 0.

    Raises
    ------
    DataError
        ``FILE-DAMAGED``.
    """
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, _PNG_SIGNATURE_BYTES + 8)
    pieces, place = [], _PNG_SIGNATURE_BYTES
    while data[place + 4 : place + 8] != b"IEND":
        (length,) = struct.unpack_from(">I", data, place)
        if data[place + 4 : place + 8] == b"IDAT":
            pieces.append(data[place + 8 : place + 8 + length])
        place += 12 + length
    expected = 0
    for x, y, step_x, step_y in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            expected += rows * (1 + -(-columns * bits * _CHANNELS[colour] // 8))
    if check_deflated(b"".join(pieces), 2 * expected + (1 << 16)) < expected:
        raise damaged_error()


def check_deflated(data: bytes | memoryview, most: int) -> int:
    """Check the Adler-32 of compressed data, inflating at most so many bytes, and return how many there are.

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
    return count


def check_jpeg(data: bytes) -> None:
    """Check that a JPEG file has all its markers up to the end of the image (ITU-T T.81, annex B).

    Decoders fill what is missing with grey, and take the zeros of an interrupted copy for pixels.

    Raises
    ------
    DataError
        ``FILE-DAMAGED`` for restart markers that are missing; ``IMG-FORMAT`` when the file ends early.
    """
    place, scanned, interval = 2, False, 0
    frame: Frame | None = None
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
        header = data[place + 2 : place + int(struct.unpack_from(">H", data, place)[0])]
        place += len(header) + 2
        frame = read_frame(marker, header) or frame
        if marker == _JPEG_INTERVAL and len(header) >= 2:
            interval = int(struct.unpack_from(">H", header)[0])
        if marker == _JPEG_SCAN:
            scanned = True
            end = _END_OF_ENTROPY.search(data, place)
            if end is None:
                break
            if not are_restarts_complete(data[place : end.start()], header, frame, interval):
                raise damaged_error()
            place = end.start()
    raise cut_error()


def damaged_error() -> DataError:
    """Return the error for a file whose content is not what was written."""
    what = "the picture does not fit its own checksum, or a part is missing from its middle (damaged)."
    return DataError("FILE-DAMAGED", what, "Copy it again from where it was right, or export it again.")


def cut_error() -> DataError:
    """Return the error for a file that ends early."""
    return DataError("IMG-FORMAT", "the picture file ends early (damaged or cut).", "Copy or export it again.")
