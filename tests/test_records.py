"""The message contract, held from both sides."""

from __future__ import annotations

import numpy as np
import pytest

from medfl import records


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


def test_counts_by_code_survive_being_text() -> None:
    counts = {"LBL-EMPTY": 2, "DCM-SPACING": 1}
    assert records.counts_from_text(records.counts_to_text(counts)) == counts
    assert records.counts_from_text("") == {}
