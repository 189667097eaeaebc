"""Records of a message as bytes and back, by private names of Flower; the bytes of arrays stay apart, and are not copied.

A model can be larger than the 2 GB that protobuf allows. So only the frame is written as Flower writes it: names, numbers,
texts, and of each array its shape and type. When a new version of Flower moves a name, ``tests/flower/test_record_bytes.py``
fails first.
"""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict


def frame_to_bytes(content: RecordDict) -> bytes:
    """Write records as Flower sends them, but for the data of arrays."""
    frame: bytes = recorddict_to_proto(_without_data(content)).SerializeToString(deterministic=True)
    return frame


def frame_from_bytes(frame: bytes) -> RecordDict:
    """Return the records that `frame_to_bytes` wrote; the data of their arrays is empty.

    Raises
    ------
    ValueError
        When the bytes are not such records.
    """
    try:
        return recorddict_from_proto(ProtoRecordDict.FromString(frame))
    except Exception as error:  # protobuf's own error is another one in each of its implementations
        raise ValueError("these bytes are no records") from error


def _without_data(content: RecordDict) -> RecordDict:
    return RecordDict({name: _bare(r) if isinstance(r, ArrayRecord) else r for name, r in content.items()})


def _bare(record: ArrayRecord) -> ArrayRecord:
    return ArrayRecord({name: Array(a.dtype, a.shape, a.stype, b"") for name, a in record.items()})
