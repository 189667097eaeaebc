"""The message contract, held from both sides."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from medfl.errors import ExchangeError
from medfl.messages import records


def model() -> dict[str, np.ndarray]:
    return {"b.weight": np.ones((2, 3), np.float32), "a.scale": np.float32(2).reshape(()), "n": np.array([3], np.int64)}


def test_arrays_come_back_as_they_went_in_the_same_order() -> None:
    back = records.from_array_record(records.to_array_record(model()))
    assert list(back) == ["b.weight", "a.scale", "n"]
    assert back["a.scale"].shape == ()
    assert back["n"].dtype == np.int64
    np.testing.assert_array_equal(back["b.weight"], model()["b.weight"])


@pytest.mark.parametrize(
    "change",
    [
        lambda m: {k: v for k, v in m.items() if k != "n"},
        lambda m: m | {"n": m["n"].astype(np.int32)},
        lambda m: m | {"n": np.array([[3]], np.int64)},
        lambda m: dict(reversed(m.items())),
    ],
)
def test_the_hash_of_a_layout_tells_names_order_shapes_and_types_apart(change) -> None:  # type: ignore[no-untyped-def]
    assert records.layout_hash(change(model())) != records.layout_hash(model())
    assert records.layout_hash(model()) == records.layout_hash({k: v * 2 for k, v in model().items()})


@pytest.mark.parametrize("header", [b"{'descr': '<f4', 'shape': (2, 3L), (", b'"""', b"(" * 9000, b"\xff\xfe"])
def test_an_array_with_a_header_of_nonsense_is_refused(header: bytes) -> None:
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    record = ArrayRecord({"a": Array("float32", (2, 3), "numpy.ndarray", data)})
    with pytest.raises(ExchangeError, match="ARRAYS-UNREADABLE"):
        records.array_views(record)


@pytest.mark.parametrize(
    "tensor",
    [
        np.array(2.5, np.float16),
        np.arange(6.0).reshape(2, 3),
        np.arange(6.0, dtype=np.float32).reshape(2, 3)[:, ::2],
        np.empty((0, 2), np.float32),
        np.array([True, False]),
        np.frombuffer(b"12345678", np.int64),
    ],
)
def test_the_bytes_of_a_tensor_are_flowers(tensor: np.ndarray) -> None:
    ours, flowers = records.to_array(tensor), Array(np.ascontiguousarray(tensor).reshape(tensor.shape))
    assert (ours.data, ours.dtype, ours.shape, ours.stype) == (flowers.data, flowers.dtype, flowers.shape, flowers.stype)


def test_a_tensor_that_lies_by_columns_comes_back_as_it_was() -> None:
    tensor = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(records.to_array(tensor).numpy(), tensor)
