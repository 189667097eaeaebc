"""Padding of answers: the part of an answer that is no array fills whole blocks, so that its size tells nothing of its numbers.

Whole numbers and texts take more or fewer bytes on the wire. The server reads them anyhow; who only sees the sizes of encrypted
packets, learns nothing from them. What is told all the same: whether an answer or an error left, the bytes of the model, which
depend on the study alone, and the log's head that is added later, of a length that depends on the number of exchanges.
"""

from __future__ import annotations

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medfl.flower.compat import wire_size
from medfl.messages.records import PADDING, SITE

PADDED_BLOCK = 4096  # bytes
_SHORTEST = 1024  # of a record from here to 9,999 bytes, the wire spends the same bytes on saying how long it is


def pad(content: RecordDict) -> None:
    """Pad an answer in place; one that was padded before is padded anew."""
    site = content.get(SITE)
    if not isinstance(site, ConfigRecord):
        return
    site[PADDING] = " " * _SHORTEST
    site[PADDING] = " " * (_SHORTEST + -unpacked_size(content) % PADDED_BLOCK)


def unpacked_size(content: RecordDict) -> int:
    """Return the bytes that everything but the arrays of a message takes on the wire."""
    return sum(wire_size(record) for record in content.values() if not isinstance(record, ArrayRecord))
