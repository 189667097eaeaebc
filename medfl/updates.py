"""Checks of a model that came in a reply, in blocks that stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.errors import ExchangeError

Tensor = NDArray[Any]
Tensors = Mapping[str, Tensor]

BLOCK = 65536  # elements: a block and its buffer stay in the second-level cache


def check_layout(arrays: Tensors, layout: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
    """Check that a reply has the names, shapes and types of the model.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The reply.
    layout : mapping of str to (shape, dtype)
        What the model has.

    Raises
    ------
    ExchangeError
        ``MODEL-MISMATCH``.
    """
    fix = "All sites must run the same study and the same version of medfl and MONAI."
    if set(arrays) != set(layout):
        found = len(set(arrays) & set(layout))
        what = f"the reply has {len(arrays)} tensors, {found} of them by name among the {len(layout)} of the model."
        raise ExchangeError("MODEL-MISMATCH", what, fix)
    for name, (shape, dtype) in layout.items():
        came = arrays[name]
        if came.shape != shape or came.dtype != dtype:
            what = f"tensor {name!r} came as {came.shape} {came.dtype}, expected {shape} {dtype}."
            raise ExchangeError("MODEL-MISMATCH", what, fix)


def check_finite(arrays: Tensors) -> None:
    """Raise ``UPDATE-NONFINITE`` when a floating-point tensor holds not-a-number or infinity."""
    for name, _, block in blocks({n: np.ascontiguousarray(x).reshape(-1) for n, x in arrays.items() if x.dtype.kind == "f"}):
        if not math.isfinite(bound_of(block)) and not math.isfinite(largest_in(block)):
            raise refusal(name, largest_in(block))


def blocks(flat: Tensors) -> Iterator[tuple[str, int, Tensor]]:
    """Yield name, start and values of every block of flattened tensors."""
    for name, values in flat.items():
        for start in range(0, values.size, BLOCK):
            yield name, start, values[start : start + BLOCK]


def largest_in(block: Tensor) -> float:
    """Largest absolute value; not-a-number if there is any, since max and min then both are."""
    with np.errstate(invalid="ignore"):
        return max(float(np.maximum.reduce(block)), -float(np.minimum.reduce(block)))


def bound_of(block: Tensor) -> float:
    """Quick upper bound of the largest absolute value; not finite whenever a value is not."""
    if block.dtype != np.float32:
        return largest_in(block)
    with np.errstate(invalid="ignore", over="ignore"):
        return 1.01 * math.sqrt(float(np.dot(block, block)))  # 1.01: above the rounding of the dot product


def refusal(name: str, largest: float) -> ExchangeError:
    """Return the error for a tensor whose largest absolute value is too large, ``UPDATE-RANGE``, or is not finite."""
    if math.isfinite(largest):
        return ExchangeError("UPDATE-RANGE", f"tensor {name!r} has a value of {largest:.3g}.", "Training has diverged there.")
    return ExchangeError("UPDATE-NONFINITE", f"tensor {name!r} holds not-a-number or infinity.", "Training has diverged there.")
