"""Writers of PNG and TIFF files in kinds that Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # colour types of PNG
PNG_START = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(
    path: Path, samples: ArrayLike, bits: int, colour: int = GREY, before: Iterable[tuple[bytes, bytes]] = ()
) -> Path:
    """Write a PNG file of samples, (rows, columns[, channels]), with further chunks before the pixels."""
    rows = np.asarray(samples)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bits, colour, 0, 0, 0)
    pixels = b"".join(b"\0" + _pack(row, bits) for row in rows)
    others = b"".join(chunk(*part) for part in before)
    path.write_bytes(PNG_START + chunk(b"IHDR", header) + others + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b""))
    return path


def write_tiff(
    path: Path, samples: ArrayLike, bits: int, photometric: int, *, extra: Iterable[tuple[int, int, Any]] = ()
) -> Path:
    """Write an uncompressed little-endian TIFF file of one strip; `extra` are tags of (number, type, value)."""
    rows = np.asarray(samples)
    data = b"".join(_pack(row, bits) for row in rows)
    tags = {256: (3, rows.shape[1]), 257: (3, rows.shape[0]), 258: (3, bits), 259: (3, 1), 262: (3, photometric), 277: (3, 1)}
    tags |= {278: (3, rows.shape[0]), 279: (4, len(data)), **{number: (kind, value) for number, kind, value in extra}}
    tags[273] = (4, 8 + 2 + 12 * (len(tags) + 1) + 4)
    directory = b"".join(
        struct.pack("<HHI", number, kind, 1) + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value))
        for number, (kind, value) in sorted(tags.items())
    )
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + struct.pack("<I", 0) + data)
    return path


def _pack(row: NDArray[Any], bits: int) -> bytes:
    text = "".join(format(int(value), f"0{bits}b") for value in row.ravel())
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
