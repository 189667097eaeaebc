"""Restart intervals of a JPEG file: how many a scan must have, by its headers (ITU-T T.81, annexes A and B)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_MARKERS = re.compile(rb"\xff([\xd0-\xd7])")
_BLOCK = 8  # samples along a side of what is transformed at once
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # SOF: baseline, extended, progressive; Huffman and arithmetic


@dataclass(frozen=True)
class Frame:
    """What the header of a frame says: size in pixels, and the sampling factors, across and down, of each component."""

    width: int
    height: int
    sampling: dict[int, tuple[int, int]]


def read_frame(marker: int, header: bytes) -> Frame | None:
    """Return what the header of a frame says; None where the marker begins another segment, or another kind of frame."""
    if marker not in _FRAMES or len(header) < 6 or len(header) < 6 + 3 * header[5]:
        return None
    height, width = struct.unpack_from(">HH", header, 1)
    parts = [header[6 + 3 * k : 9 + 3 * k] for k in range(header[5])]
    return Frame(width, height, {part[0]: (part[1] >> 4, part[1] & 15) for part in parts})


def are_restarts_complete(scan: bytes, header: bytes, frame: Frame | None, interval: int) -> bool:
    """Return whether a scan has all of its restart markers, in order.

    Parameters
    ----------
    scan : bytes
        The coded data.
    header : bytes
        Header of the scan: number of components, and two bytes for each.
    frame : Frame, optional
        The frame; without one, or without its height (which DNL may state later), only the order counts.
    interval : int
        Minimum coded units between two markers, by DRI.
    """
    numbers = [found[0] & 7 for found in _MARKERS.findall(scan)]
    if numbers != [index % 8 for index in range(len(numbers))]:
        return False
    units = _count_units(frame, header) if frame else 0
    if not units:
        return True
    expected = (units - 1) // interval if interval else 0
    closing = bool(_MARKERS.match(scan[-2:]))  # some encoders write one behind the last interval
    return len(numbers) in (expected, expected + closing)


def _count_units(frame: Frame, header: bytes) -> int:
    """Return the minimum coded units of a scan; 0 where the headers do not say."""
    factors = list(frame.sampling.values())
    scanned = [frame.sampling.get(number) for number in header[1 : 1 + 2 * header[0] : 2]] if header else []
    if not scanned or None in scanned or not all(across and down for across, down in factors):
        return 0
    widest, tallest = max(across for across, _ in factors), max(down for _, down in factors)
    across, down = scanned[0] if len(scanned) == 1 and scanned[0] else (1, 1)  # the blocks of one component, or of all
    if len(scanned) > 1:
        return _ceil(frame.width, _BLOCK * widest) * _ceil(frame.height, _BLOCK * tallest)
    return _ceil(_ceil(frame.width * across, widest), _BLOCK) * _ceil(_ceil(frame.height * down, tallest), _BLOCK)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
