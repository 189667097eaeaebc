from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from medfl.flower.record_bytes import frame_from_bytes, frame_to_bytes


def test_records_come_back_in_their_order_and_with_their_types() -> None:
    content = RecordDict(
        {
            "metrics": MetricRecord({"b": 1, "a": 0.1, "list": [1, 2], "nan": float("nan")}),
            "site": ConfigRecord({"name": "north", "empty": "", "flag": True, "bytes": b"\x00\xff", "none": []}),
        }
    )
    again = frame_from_bytes(frame_to_bytes(content))
    assert str(again) == str(content)
    assert type(again.metric_records["metrics"]["b"]) is int


def test_the_data_of_arrays_stays_apart() -> None:
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(1000))})})
    frame = frame_to_bytes(content)
    assert len(frame) < 200
    array = frame_from_bytes(frame).array_records["arrays"]["w"]
    assert (array.dtype, array.shape, array.data) == ("float64", (1000,), b"")


def test_other_bytes_are_no_records() -> None:
    with pytest.raises(ValueError, match="no records"):
        frame_from_bytes(b"\xff" * 20)
