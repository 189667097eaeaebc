"""DICOMDIR, the table of contents of a DICOM disc: which files should be there, and which series they belong to (PS3.3 F)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pydicom

from medfl.data.library_output import silence_libraries
from medfl.errors import DataError


def read_dicomdir(path: str) -> list[tuple[str, str]]:
    """Return the files that a DICOMDIR names.

    Its records are a tree of offsets into the file; their order in the file means nothing.

    Returns
    -------
    list of (str, str)
        Path relative to the DICOMDIR, and SeriesInstanceUID, empty outside of a series.

    Raises
    ------
    DataError
        ``DD-READ`` when it cannot be read.
    """
    with silence_libraries():
        try:
            dataset = pydicom.dcmread(path)
            records = {int(record.seq_item_tell): record for record in dataset.DirectoryRecordSequence}
            first = int(dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity)
            return list(_iter_referenced_files(records, first, ""))
        except Exception:  # pydicom raises nearly anything on a damaged file
            raise DataError("DD-READ", "a DICOMDIR cannot be read.", "Export again.") from None


def _iter_referenced_files(records: dict[int, Any], first: int, series: str) -> Iterator[tuple[str, str]]:
    offset, seen = first, set()
    while offset and offset not in seen:  # a damaged table could lead in circles
        seen.add(offset)
        record = records[offset]
        own = str(record.get("SeriesInstanceUID", "")) or series
        parts = record.get("ReferencedFileID")
        if parts:
            yield os.path.join(*([parts] if isinstance(parts, str) else parts)), own
        below = int(record.get("OffsetOfReferencedLowerLevelDirectoryEntity", 0) or 0)
        if below and below not in seen:
            yield from _iter_referenced_files(records, below, own)
        offset = int(record.get("OffsetOfTheNextDirectoryRecord", 0) or 0)
