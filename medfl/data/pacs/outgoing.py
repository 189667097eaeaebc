"""DICOM objects that are sent to a PACS: predictions alone, read and checked before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfl.data.dicom.parsing import parse_file
from medfl.data.pacs.pacs_errors import pacs_error
from medfl.errors import DataError

_MODALITIES = ("SEG", "SR")  # what a prediction is: images are never sent back
_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality")


@dataclass(frozen=True)
class OutgoingObject:
    """A file to be sent. Its repr shows nothing that identifies.

    Parameters
    ----------
    path : Path
        The file.
    sop_class, syntax : str
        UIDs of what it is, and of how it is encoded.
    instance : str
        SOPInstanceUID.
    """

    path: Path = field(repr=False)
    sop_class: str
    syntax: str
    instance: str = field(repr=False)


@dataclass(frozen=True)
class Stored:
    """Answer of a PACS to one object.

    Parameters
    ----------
    path : Path
        The file.
    problem : DataError, optional
        Why it was not stored.
    is_changed : bool
        Whether the PACS says that it stored other values than it got, as its own number of a patient.
    """

    path: Path
    problem: DataError | None = None
    is_changed: bool = False


def read_outgoing(paths: Sequence[Path]) -> tuple[OutgoingObject, ...]:
    """Read the headers of files that are to be sent, all of them before the first is sent.

    Raises
    ------
    DataError
        ``PACS-OBJECT`` when one is not a DICOM-SEG or a structured report that a PACS can file, or two are the same object.
    """
    objects = tuple(map(_read, paths))
    if len({each.instance for each in objects}) < len(objects):
        raise pacs_error("PACS-OBJECT", "two of the files are the same object")
    return objects


def _read(path: Path) -> OutgoingObject:
    try:
        header = parse_file(path, stop_before_pixels=True, specific_tags=_TAGS)
        syntax = str(header.file_meta.TransferSyntaxUID)
    except Exception:  # pydicom raises nearly anything, with texts of the header
        raise pacs_error("PACS-OBJECT", "a file is not a DICOM object") from None
    if str(header.get("Modality", "")) not in _MODALITIES:
        raise pacs_error("PACS-OBJECT", "a file is neither a DICOM-SEG nor a structured report")
    if missing := sum(not str(header.get(tag, "")).strip() for tag in _TAGS):
        raise pacs_error("PACS-OBJECT", f"a file lacks {missing} of the values by which a PACS files an object")
    return OutgoingObject(path, str(header.SOPClassUID), syntax, str(header.SOPInstanceUID))
