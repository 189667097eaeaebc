"""C-STORE of single objects over DIMSE (DICOM PS3.4 annex B), and what the status of each answer means."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from itertools import groupby

from pydicom.dataset import Dataset

from medfl.data.pacs.association import associate
from medfl.data.pacs.contexts import UNCOMPRESSED
from medfl.data.pacs.outgoing import OutgoingObject, Stored
from medfl.data.pacs.pacs_errors import ServiceNotOffered, pacs_error
from medfl.site.pacs import Pacs

_SUCCESS, _OUT_OF_RESOURCES = 0x0000, 0xA700  # DICOM PS3.4 table B.2-1
_WARNINGS, _WARNING_CLASS = (0x0001, 0x0107, 0x0116), 0xB  # PS3.7 annex C: it was stored all the same


def store_objects(pacs: Pacs, tls: ssl.SSLContext | None, objects: Sequence[OutgoingObject]) -> Iterator[Stored]:
    """Send objects, those of one kind over one association, and yield the answer to each.

    Raises
    ------
    DataError
        For the same reasons as `associate`; ``PACS-REFUSED`` when the PACS has no room at the moment.
    """
    for kind, group in groupby(sorted(objects, key=_kind), key=_kind):
        same = list(group)
        try:
            yield from _store_kind(pacs, tls, kind, same)
        except ServiceNotOffered:
            refusal = pacs_error("PACS-NOT-STORED", "it takes no objects of this kind from medfl")
            yield from (Stored(each.path, refusal) for each in same)


def _kind(each: OutgoingObject) -> tuple[str, str]:
    return each.sop_class, each.syntax


def _store_kind(
    pacs: Pacs, tls: ssl.SSLContext | None, kind: tuple[str, str], objects: Sequence[OutgoingObject]
) -> Iterator[Stored]:
    from pynetdicom.presentation import build_context

    sop_class, syntax = kind
    syntaxes = list(UNCOMPRESSED) if syntax in UNCOMPRESSED else [syntax]  # pynetdicom turns one of these into the other
    with associate(pacs, tls, [build_context(sop_class, syntaxes)]) as association:
        for each in objects:
            try:
                answer = association.send_c_store(each.path)
            except (RuntimeError, ValueError):  # pynetdicom's for an association that is gone, or takes no objects of this kind
                raise pacs_error("PACS-UNREACHABLE") from None
            yield _read_status(each, answer)


def _read_status(each: OutgoingObject, response: Dataset) -> Stored:
    status = response.get("Status")
    if status is None:
        raise pacs_error("PACS-UNREACHABLE")
    code = int(status)
    if code & 0xFF00 == _OUT_OF_RESOURCES:
        raise pacs_error("PACS-REFUSED", f"status 0x{code:04X}")
    is_changed = code in _WARNINGS or code >> 12 == _WARNING_CLASS
    if code == _SUCCESS or is_changed:
        return Stored(each.path, is_changed=is_changed)
    return Stored(each.path, pacs_error("PACS-NOT-STORED", f"status 0x{code:04X}"))
