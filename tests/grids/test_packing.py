"""Models travel as one object: the bits are those of the model, and no packed bytes from elsewhere can end a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from medfl.errors import ExchangeError
from medfl.flower import compat
from medfl.grids import packing
from medfl.grids.packing import PACKED, PackingGrid, pack, unpack
from medfl.messages import records
from tests.grids.test_retrying import Nodes

MODEL = {
    "layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "größe": np.array([np.nan, -0.0, np.inf], dtype=np.float64),
    "count": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 3), dtype=np.float16),
}


def with_table(table: bytes, rest: bytes = b"") -> ArrayRecord:
    data = len(table).to_bytes(8, "little") + table + rest
    return ArrayRecord({PACKED: Array(dtype="uint8", shape=(len(data),), stype=PACKED, data=data)})


def row(name: Any = "w", dtype: Any = "float32", shape: Any = (0,), size: Any = 0) -> bytes:
    return json.dumps([[name, dtype, shape, size]]).encode()


HOSTILE = {
    "number too large": b'[["w","float32",[1e999],0]]',
    "too deep": b"[" * 200_000,
    "name that is none": rb'[["\ud800","float32",[0],0]]',
    "size beyond the end": row(size=10**12),
    "negative size": row(size=-1),
    "no size": row(size="4"),
    "no table": b"7",
    "no JSON": b"\xff\xfe",
    "shape of text": row(shape="abc"),
    "length beyond the end": b"",
}


def test_a_model_comes_back_with_every_bit() -> None:
    record = records.to_array_record(MODEL)
    back = unpack(pack(record))
    assert list(back) == list(record)
    assert all(back[name] == record[name] for name in record)


def test_what_was_not_packed_stays_as_it_is() -> None:
    record = records.to_array_record(MODEL)
    assert unpack(record) is record


@pytest.mark.parametrize("what", HOSTILE)
def test_what_cannot_be_read_has_one_code(what: str) -> None:
    record = with_table(HOSTILE[what])
    if what == "length beyond the end":
        record = ArrayRecord({PACKED: Array(dtype="uint8", shape=(3,), stype=PACKED, data=b"\xff" * 3)})
    with pytest.raises(ExchangeError, match="ARRAYS-UNREADABLE"):
        unpack(record)


def test_bytes_that_are_left_over_are_refused() -> None:
    assert len(unpack(with_table(row()))) == 1
    with pytest.raises(ExchangeError, match="ARRAYS-UNREADABLE"):
        unpack(with_table(row(), b"more"))


@pytest.mark.parametrize("what", HOSTILE)
def test_one_reply_that_cannot_be_read_does_not_end_a_run(what: str) -> None:
    class Replying(Nodes):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            for content in (with_table(HOSTILE[what]), pack(records.to_array_record(MODEL))):
                yield Message(RecordDict({"arrays": content}), reply_to=asked)

    nodes = Replying(n3=["ok"])
    asked = Message(RecordDict(), dst_node_id=3, message_type="train")
    compat.assign_message_id(asked)
    bad, good = PackingGrid(nodes).pull_messages(["x"])
    assert packing.is_packed(bad.content.array_records["arrays"])
    assert list(good.content.array_records["arrays"]) == list(MODEL)
