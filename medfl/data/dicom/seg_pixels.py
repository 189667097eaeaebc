"""Pixels of a DICOM SEG: bits, fractions or segment numbers, painted as classes on the slices of a series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from medfl.data.dicom.references import unreadable_label_error
from medfl.data.dicom.seg_frames import SegFrame, segmentation_type
from medfl.data.dicom.slices import paint_mask
from medfl.data.dicom.stored_values import FrameDecoder
from medfl.data.library_output import library_errors_as
from medfl.errors import DataError

Mask = NDArray[np.uint8]
_MAX_BITS = 16  # BitsAllocated of type LABELMAP, PS3.3 C.8.20.2


def paint_frames(
    dataset: Dataset, classes: Mapping[int, int], placed: Sequence[tuple[SegFrame, int]], shape: tuple[int, ...]
) -> Mask:
    """Return a mask with the classes of the frames on their slices.

    Parameters
    ----------
    dataset : Dataset
        The DICOM SEG.
    classes : mapping of int to int
        Class of each segment.
    placed : sequence of (SegFrame, int)
        Frames, each with its slice.
    shape : tuple of int
        (columns, rows, slices).

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-OVERLAP`` or ``LBL-VALUES``.
    """
    labelmap = segmentation_type(dataset) == "LABELMAP"
    foreground = [(frame, k) for frame, k in placed if labelmap or classes.get(frame.segment, -1) != 0]
    if any(not labelmap and frame.segment not in classes for frame, _ in foreground):
        raise unreadable_label_error()  # a frame of a segment that does not exist
    mask = np.zeros(shape, dtype=np.uint8)
    with library_errors_as(unreadable_label_error):
        table = _build_lookup_table(dataset, classes)
        pixels = _iter_stored_frames(dataset, [frame.index for frame, _ in foreground]) if foreground else ()
        highest = len(table) - 1 if labelmap else _highest_value(dataset)
        for (frame, k), stored in zip(foreground, pixels, strict=True):
            if stored.max(initial=0) > highest:
                raise _values_error(f"above {highest}, the highest that it declares")
            labels = _apply_lookup_table(stored, table) if labelmap else (stored >= table[0]) * np.uint8(classes[frame.segment])
            paint_mask(mask[:, :, k], labels.T)
    return mask


def _iter_stored_frames(dataset: Dataset, indices: Sequence[int]) -> Iterator[NDArray[np.integer]]:
    """Yield the stored values of frames, (rows, columns)."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    _refuse_surplus(dataset, encapsulated=bool(syntax and syntax.is_encapsulated))
    if int(dataset.BitsAllocated) > 1:
        decoder = FrameDecoder(dataset)
        yield from map(decoder.decode, indices)
        return
    if syntax and (syntax.is_encapsulated or not syntax.is_little_endian):
        yield from iter_pixels(dataset, raw=True, indices=indices)
        return
    # pydicom 3.0 expects frames of single bits to begin and end at a byte, which they need not (PS3.5 section 8.1.1)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    n_pixels, stored = rows * columns, np.frombuffer(dataset.PixelData, dtype=np.uint8)
    if 8 * len(stored) < n_pixels * int(dataset.get("NumberOfFrames") or 1):
        raise unreadable_label_error()
    for index in indices:
        first, offset = divmod(index * n_pixels, 8)
        bits = np.unpackbits(stored[first : first + (offset + n_pixels + 7) // 8], bitorder="little")
        yield bits[offset : offset + n_pixels].reshape(rows, columns)


def _refuse_surplus(dataset: Dataset, *, encapsulated: bool) -> None:
    """Refuse more pixels than the frames have: each frame of single bits may begin at a byte, where the next ones would not."""
    n_pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    n_bytes = (n_pixels * int(dataset.BitsAllocated) + 7) // 8
    if not encapsulated and len(dataset.PixelData) > n_bytes + n_bytes % 2:
        what = f"the segmentation holds {len(dataset.PixelData)} bytes of pixels, and its frames need {n_bytes}."
        fix = "Frames of single bits must follow each other without gaps (PS3.5 section 8.1.1); export the segmentation again."
        raise DataError("LBL-READ", what, fix)


def _build_lookup_table(dataset: Dataset, classes: Mapping[int, int]) -> NDArray[np.int64]:
    """Return the class of each stored value of a LABELMAP, -1 for none; else the lowest stored value that counts."""
    if segmentation_type(dataset) == "LABELMAP":
        if int(dataset.BitsAllocated) > _MAX_BITS:
            raise unreadable_label_error()
        table = np.full(2 ** int(dataset.BitsAllocated), -1)
        table[0] = 0
        padding = dataset.get("PixelPaddingValue")
        if isinstance(padding, int) and 0 <= padding < len(table):
            table[padding] = 0  # where nothing was stored
        for number, label in classes.items():
            table[number] = label
        return table
    return np.array([(_highest_value(dataset) + 1) // 2])


def _highest_value(dataset: Dataset) -> int:
    """Return the highest value that a pixel may have: MaximumFractionalValue, or 1 (PS3.3 C.8.20.2)."""
    highest = int(dataset.MaximumFractionalValue) if segmentation_type(dataset) == "FRACTIONAL" else 1
    if highest < 1:
        raise unreadable_label_error()  # no stored value can be a half
    return highest


def _apply_lookup_table(stored: NDArray[np.integer], table: NDArray[np.int64]) -> Mask:
    labels = table[stored]
    if (labels < 0).any():
        raise _values_error("that belong to none of its segments")
    return np.asarray(labels, dtype=np.uint8)


def _values_error(which: str) -> DataError:
    return DataError("LBL-VALUES", f"the segmentation holds values {which}.", "Export the segmentation again.")
