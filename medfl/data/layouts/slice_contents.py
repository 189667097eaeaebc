"""Contents of files that are no DICOM: whether one can be what is left of a slice."""

from __future__ import annotations

import os

from medfl.data.index.file_facts import IndexedFile, may_be_dicom
from medfl.data.layouts.missing_parts import ImagePlaces

_HEAD = 512  # bytes by which a text is told
_TEXT_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # order of bytes, in front of a text
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f")


def may_be_slice(item: IndexedFile, places: ImagePlaces) -> bool:
    """Return whether the content of a file may be a slice that was lost; what is called like the slices beside it always may.

    A text is none, unless it is a page as servers send in place of a file. What was opened, is neither empty nor DICOM, and
    has the suffix of something else, is that.

    Parameters
    ----------
    item : IndexedFile
        A file that cannot be read as DICOM.
    places : ImagePlaces
        Where the readable images lie.
    """
    if item.kind != "other" or places.is_called_slice(item.path_text):
        return True
    head = _read_head(item.path_text)
    if head is None or not head.strip(b"\0") or head.lstrip().startswith(b"<"):
        return True
    if head.startswith(_TEXT_MARKS) or _CONTROLS.isdisjoint(head):
        return False
    return not (may_be_dicom(item.path_text) and places.has_images_beside(item.path_text))


def _read_head(path: str) -> bytes | None:
    """Return how a file begins; None where it cannot be read, or is a link or a pipe, which are not opened."""
    if os.path.islink(path) or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError:
        return None
