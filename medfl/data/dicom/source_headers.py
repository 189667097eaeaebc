"""Headers of the files of a case: from the index, so that no file is opened twice for its header."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medfl.data.cases import Source
from medfl.data.dicom.headers import Header, read_header, require_headers

if TYPE_CHECKING:
    from medfl.data.index.file_facts import IndexedFile


def read_source_headers(source: Source, *, force: bool = False) -> list[Header]:
    """Return the headers of the files of a source, from the index where a file has not changed since it was read for it.

    Parameters
    ----------
    source : Source
        DICOM files.
    force : bool
        Whether files without the 128-byte preamble count.

    Raises
    ------
    DataError
        ``DCM-READ`` when one of them is missing or not DICOM.
    """
    known = {file.path: file for file in source.files}
    return require_headers([_current_header(path, known.get(path), force=force) for path in source.paths])


def read_first_header(source: Source, *, force: bool = False) -> Header | None:
    """Return the header of the first file of a source as `read_source_headers` does, or None when it is not DICOM."""
    known = next((file for file in source.files if file.path == source.paths[0]), None)
    return _current_header(source.paths[0], known, force=force)


def _current_header(path: Path, known: IndexedFile | None, *, force: bool) -> Header | None:
    if known is None or known.has_changed():
        return read_header(path, force=force)
    return known.header if known.kind == "dicom" or (force and known.kind == "headerless") else None
