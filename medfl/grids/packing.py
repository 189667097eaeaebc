"""Packing of a model's tensors into one object on the wire.

Flower fetches every tensor of a message with separate requests, and each of them costs as much as a whole small model. A packed
model is one array of bytes: the length of a table, the table (JSON: name, dtype, shape, length of each tensor), and the tensors
in NumPy's own format, one after the other. The bits of the tensors do not change, and nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict

from medfl.errors import ExchangeError
from medfl.flower.compat import ClientAppCallable
from medfl.grids.grid_wrapper import GridWrapper

PACKED = "medfl.packed"  # type of such an array, instead of Flower's "numpy.ndarray"
_NUMPY = "numpy.ndarray"
_HEADER_LENGTH_BYTES = 8  # of the number that holds the length of the table, little-endian


def pack(record: ArrayRecord) -> ArrayRecord:
    """Return the tensors of a record as one array."""
    table = [[name, array.dtype, list(array.shape), len(array.data)] for name, array in record.items()]
    head = json.dumps(table, separators=(",", ":")).encode()
    data = b"".join((len(head).to_bytes(_HEADER_LENGTH_BYTES, "little"), head, *(array.data for array in record.values())))
    return ArrayRecord({PACKED: Array(dtype="uint8", shape=(len(data),), stype=PACKED, data=data)})


def unpack(record: ArrayRecord) -> ArrayRecord:
    """Return the tensors of a record that `pack` made; any other record is returned unchanged.

    Raises
    ------
    ExchangeError
        ``ARRAYS-UNREADABLE``.
    """
    if not is_packed(record):
        return record
    data = record[PACKED].data
    try:
        length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
        at = _HEADER_LENGTH_BYTES + length
        table = json.loads(data[_HEADER_LENGTH_BYTES:at])
        tensors = {}
        for name, dtype, shape, size in table:
            if not isinstance(size, int) or size < 0 or at + size > len(data):
                raise ValueError("a tensor reaches past the end")
            str(name).encode()  # JSON allows names that cannot be encoded
            tensors[str(name)] = Array(dtype=str(dtype), shape=tuple(map(int, shape)), stype=_NUMPY, data=data[at : at + size])
            at += size
        if at != len(data):
            raise ValueError("bytes are left over")
    except Exception:  # the bytes are untrusted: no number, nesting or name in them may end a run
        raise ExchangeError(
            "ARRAYS-UNREADABLE", "a packed model cannot be read.", "Both sides must run the same medfl."
        ) from None
    return ArrayRecord(tensors)


def is_packed(record: object) -> bool:
    """Say whether a record is one that `pack` made."""
    return isinstance(record, ArrayRecord) and list(record) == [PACKED] and record[PACKED].stype == PACKED


def pack_content(content: RecordDict) -> RecordDict:
    """Return a message's content with each of its array records packed."""
    return RecordDict({name: pack(r) if isinstance(r, ArrayRecord) else r for name, r in content.items()})


def unpack_content(content: RecordDict) -> RecordDict:
    """Return a message's content with each of its packed array records unpacked, or raise as `unpack` does."""
    return RecordDict({name: unpack(r) if isinstance(r, ArrayRecord) else r for name, r in content.items()})


class PackingGrid(GridWrapper):
    """A Grid that sends models packed, to sites whose ClientApp is medfl's; to be wrapped in a `StreamingGrid`."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages packed, packing once what several nodes are sent, and return their identifiers."""
        sent = list(messages)
        whole = [message.content for message in sent]
        small = {id(content): pack_content(content) for content in {id(c): c for c in whole}.values()}
        for message in sent:
            message.content = small[id(message.content)]
        identifiers = list(self._grid.push_messages(sent))
        for message, content in zip(sent, whole, strict=True):
            message.content = content
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, unpacked; one that cannot be unpacked stays as it is, and fits no model."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            if reply.has_content():
                with suppress(ExchangeError):
                    reply.content = unpack_content(reply.content)
        return replies


def packing_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Unpack a packed message, and pack the answer to it: a mod of a ClientApp."""
    if not any(is_packed(record) for record in message.content.values()):
        return call_next(message, context)
    message.content = unpack_content(message.content)
    reply = call_next(message, context)
    if reply.has_content():
        reply.content = pack_content(reply.content)
    return reply
