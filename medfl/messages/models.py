"""Models in replies: checks of their layout and values, in blocks that stay in the cache, and interpolation between two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.errors import ExchangeError

Tensor = NDArray[Any]
Tensors = Mapping[str, Tensor]
Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

BLOCK = 131072  # elements: a block and its buffer stay in the second-level cache
_MIN_WEIGHT, _MAX_WEIGHT = 2.0**-10, 2.0**53


def layout_of(model: Tensors) -> Layout:
    """Return shape and type of every tensor of a model; ``MODEL-TYPE`` unless all are float, integer or boolean."""
    layout = {name: (np.shape(x), x.dtype) for name, x in model.items()}
    for name, (_, dtype) in layout.items():
        if dtype.kind not in "fiub" or dtype.itemsize > 8:
            raise ExchangeError("MODEL-TYPE", f"tensor {name!r} has type {dtype}.", "Send float, integer or boolean tensors.")
    return layout


def check_weight(weight: float) -> None:
    """Raise ``WEIGHT-RANGE`` unless the weight of a reply is between 2**-10 and 2**53."""
    if not (_MIN_WEIGHT <= weight <= _MAX_WEIGHT):
        raise ExchangeError(
            "WEIGHT-RANGE", f"the weight is {weight}, allowed is 2**-10 to 2**53.", "Use a count as the weight."
        )


def check_layout(arrays: Tensors, layout: Layout) -> None:
    """Check that a reply has the names, shapes and types of the model; its floats may be narrower.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The reply.
    layout : mapping of str to (shape, dtype)
        Layout of the model.

    Raises
    ------
    ExchangeError
        ``MODEL-MISMATCH``.
    """
    fix = "All sites must run the same study and the same version of medfl and MONAI."
    if set(arrays) != set(layout):
        known = len(set(arrays) & set(layout))
        what = f"the reply has {len(arrays)} tensors; {known} of their names are among the {len(layout)} of the model."
        raise ExchangeError("MODEL-MISMATCH", what, fix)
    for name, (shape, dtype) in layout.items():
        tensor = arrays[name]
        if tensor.shape != shape or not _is_compatible(tensor.dtype, dtype):
            what = f"tensor {name!r} came as {tensor.shape} {tensor.dtype}, expected {shape} {dtype}."
            raise ExchangeError("MODEL-MISMATCH", what, fix)


def _is_compatible(dtype: np.dtype[Any], expected: np.dtype[Any]) -> bool:
    return dtype == expected or (dtype.kind == expected.kind == "f" and dtype.itemsize < expected.itemsize)


def flatten(arrays: Tensors) -> dict[str, Tensor]:
    """Return the floating-point tensors of a model as vectors in C order and native byte order, copied only where necessary."""
    floats = ((name, x) for name, x in arrays.items() if x.dtype.kind == "f")
    return {name: np.ascontiguousarray(x, x.dtype.newbyteorder("=")).reshape(-1) for name, x in floats}


def check_finite(arrays: Tensors) -> None:
    """Raise ``UPDATE-NONFINITE`` when a floating-point tensor holds not-a-number or infinity."""
    for name, _, block in iter_blocks(flatten(arrays)):
        if not math.isfinite(max_abs_bound(block)) and not math.isfinite(max_abs(block)):
            raise out_of_range_error(name, max_abs(block))


def validate_arrays(arrays: Tensors, layout: Layout) -> dict[str, Tensor]:
    """Return a reply in the order and types of the model, or raise as `check_layout` and `check_finite` do."""
    check_layout(arrays, layout)
    check_finite(arrays)
    return {name: arrays[name].astype(dtype, copy=False) for name, (_, dtype) in layout.items()}


def interpolate(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return ``start + share * (end - start)`` in the type of `start`, computed in float64.

    Integer and boolean tensors are those of `end`.

    Examples
    --------
    >>> interpolate(np.array([1.0, 2.0]), np.array([3.0, 2.0]), 0.25).tolist()
    [1.5, 2.0]
    """
    if end.dtype.kind != "f" or share == 1.0:
        return end
    between = np.subtract(end, start, dtype=np.float64)  # float32 would lose a small end beside a large start
    between *= share
    between += start
    return np.asarray(between, start.dtype)


def iter_blocks(flat: Tensors) -> Iterator[tuple[str, int, Tensor]]:
    """Yield name, start and values of every block of flattened tensors."""
    for name, values in flat.items():
        for start in range(0, values.size, BLOCK):
            yield name, start, values[start : start + BLOCK]


def max_abs(block: Tensor) -> float:
    """Return the largest absolute value; not finite whenever a value is not."""
    if block.dtype == np.float16:  # slow in numpy; without the sign the bits of float16 sort by size
        return float(np.bitwise_and(block.view(np.uint16), 0x7FFF).max().view(np.float16))
    with np.errstate(invalid="ignore"):
        return max(float(np.maximum.reduce(block)), -float(np.minimum.reduce(block)))


def max_abs_bound(block: Tensor) -> float:
    """Return a quick upper bound of the largest absolute value; not finite whenever a value is not."""
    if block.dtype != np.float32:
        return max_abs(block)
    with np.errstate(invalid="ignore", over="ignore"):
        return 1.01 * math.sqrt(float(np.dot(block, block)))  # 1.01: above the rounding of the dot product


def out_of_range_error(name: str, largest: float) -> ExchangeError:
    """Return the error for a tensor whose largest absolute value is too large, ``UPDATE-RANGE``, or is not finite."""
    if math.isfinite(largest):
        return ExchangeError(
            "UPDATE-RANGE", f"tensor {name!r} has a value of {largest:.3g}.", "Training has diverged at this site."
        )
    return ExchangeError(
        "UPDATE-NONFINITE", f"tensor {name!r} holds not-a-number or infinity.", "Training has diverged at this site."
    )
