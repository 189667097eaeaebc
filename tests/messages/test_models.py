"""Interpolation between two models."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.messages.models import interpolate


@pytest.mark.parametrize("share", [1 - 2.0**-30, 0.75, 1 + 2.0**-28, 1.5])
@pytest.mark.parametrize(("start", "end"), [(1e6, 1e-5), (1e4, 1e-3), (1.0, 1 / 3), (1e-5, 1e6), (-1.0, 1e-7), (3e38, -1.0)])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_small_end_is_not_lost_beside_a_large_start(dtype: str, start: float, end: float, share: float) -> None:
    limit = float(np.finfo(dtype).max) / 4
    first, last = (np.array([x], dtype) for x in np.clip([start, end], -limit, limit))
    right = np.array(float(first[0]) + share * (float(last[0]) - float(first[0])), dtype)
    assert interpolate(first, last, share).tolist() == [right]


@pytest.mark.parametrize("shape", [(), (2, 3), (0, 4)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_tensor_that_did_not_change_stays_as_it_is_and_nothing_is_overwritten(dtype: str, shape: tuple[int, ...]) -> None:
    start, end = np.full(shape, 0.1, dtype), np.full(shape, 0.1, dtype)
    made = interpolate(start, end, 0.3)
    assert (made.shape, made.dtype) == (shape, np.dtype(dtype))
    for tensor in (start, end, made):
        assert np.array_equal(tensor, np.full(shape, 0.1, dtype))


def test_counters_and_a_whole_step_give_the_end() -> None:
    assert interpolate(np.array([1]), np.array([5]), 0.5).tolist() == [5]
    assert interpolate(np.array([1e6], np.float32), np.array([1e-5], np.float32), 1.0)[0] == np.float32(1e-5)
