"""Sending of predictions to a hospital's PACS: STOW-RS over DICOMweb, C-STORE over DIMSE. Only on request, object by object."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from medfl.data.library_output import silence_libraries
from medfl.data.pacs.attempts import is_allowed, retry
from medfl.data.pacs.dicomweb import DicomWeb
from medfl.data.pacs.dimse import Dimse
from medfl.data.pacs.outgoing import OutgoingObject, Stored, read_outgoing
from medfl.data.pacs.pacs_errors import pacs_error
from medfl.errors import DataError
from medfl.site.pacs import Pacs


class ObjectSender(Protocol):
    """Client of a PACS that stores objects, whatever its protocol."""

    def store(self, objects: Sequence[OutgoingObject]) -> Iterable[Stored]:
        """Send objects one after the other, and yield the answer to each."""


def send_objects(
    paths: Sequence[Path], pacs: Pacs, folder: Path, progress: Callable[[int, int], object] = lambda done, total: None
) -> tuple[Stored, ...]:
    """Send DICOM-SEG and structured reports to a PACS.

    All files are checked before the first is sent. What fails for a while is tried again, but nothing that was stored; an
    object that is sent again is the same object for a PACS.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    pacs : Pacs
        The PACS.
    folder : Path
        Folder that the paths of its settings are relative to.
    progress : callable
        Called with the number of answered objects, and of all.

    Returns
    -------
    tuple of Stored
        What became of each file, in the order of the files. Problems are ``PACS-NOT-STORED``, for a single object, or
        ``PACS-UNREACHABLE``, ``PACS-REFUSED``, ``PACS-AUTH``, ``PACS-AET``, ``PACS-TLS``, for all that were not stored by then.

    Raises
    ------
    DataError
        Before anything is sent: ``PACS-OBJECT``, ``PACS-HOURS``, ``PACS-EXTRA-MISSING``, ``PACS-CREDENTIALS``, ``PACS-TLS``.
    """
    objects = read_outgoing(paths)
    if not is_allowed(pacs.hours):
        raise pacs_error("PACS-HOURS", " to ".join(pacs.hours.split("-")))
    sender = _make_sender(pacs, folder)
    answers: dict[Path, Stored] = {}

    def attempt() -> None:
        for answer in sender.store([each for each in objects if each.path not in answers]):
            answers[answer.path] = answer
            progress(len(answers), len(objects))

    problem: DataError | None = None
    with silence_libraries():
        try:
            retry(attempt, pacs.retries, threading.Event())
        except DataError as error:
            problem = error
    return tuple(answers.get(each.path, Stored(each.path, problem)) for each in objects)


def _make_sender(pacs: Pacs, folder: Path) -> ObjectSender:
    if any(find_spec(library) is None for library in ("dicomweb_client", "pynetdicom")):
        raise pacs_error("PACS-EXTRA-MISSING")
    return DicomWeb(pacs, folder) if pacs.kind == "dicomweb" else Dimse(pacs, folder)
