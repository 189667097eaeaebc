"""Reader of DICOMDIR, the directory of a DICOM medium: which files it holds, and their series (PS3.3 annex F)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medfl.data.dicom.parsing import parse_file
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError


def read_dicomdir(path: str) -> list[tuple[str, str]]:
    """Return the files that a DICOMDIR names.

    Its directory records form a tree, linked by offsets into the file; their order in the file means nothing.

    Returns
    -------
    list of (str, str)
        Path relative to the DICOMDIR, and SeriesInstanceUID, which is empty outside a series.

    Raises
    ------
    DataError
        ``DD-READ`` when the DICOMDIR cannot be read.
    """
    with silence_libraries():
        try:
            dataset = parse_file(Path(path))
            records = {int(record.seq_item_tell): record for record in dataset.DirectoryRecordSequence}
            first = int(dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity)
            return list(_iter_referenced_files(records, first, ""))
        except Exception:  # pydicom raises nearly anything on a damaged file
            raise DataError("DD-READ", "a DICOMDIR cannot be read.", "Export again.") from None


def _iter_referenced_files(records: dict[int, Any], first: int, series: str) -> Iterator[tuple[str, str]]:
    offset, seen = first, set()
    while offset and offset not in seen:  # damaged records could form a cycle
        seen.add(offset)
        record = records[offset]
        record_series = str(record.get("SeriesInstanceUID", "")) or series
        parts = record.get("ReferencedFileID")
        if parts:
            yield os.path.join(*([parts] if isinstance(parts, str) else parts)), record_series
        lower = int(record.get("OffsetOfReferencedLowerLevelDirectoryEntity", 0) or 0)
        if lower and lower not in seen:
            yield from _iter_referenced_files(records, lower, record_series)
        offset = int(record.get("OffsetOfTheNextDirectoryRecord", 0) or 0)
