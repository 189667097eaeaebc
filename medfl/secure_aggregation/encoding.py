"""From the update of a site to the integers that are masked: each value is weighted, clipped to its range and rounded.

A site with weight ``w`` puts ``x * w / ceiling`` into the sum, so the sum of the vectors and the sum of the weights give the
weighted mean, and neither tells a single weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.layout import CHUNK, CLIPPED, SITES, WEIGHT, TensorLayout, VectorLayout, not_finite_error
from medfl.secure_aggregation.rounding import TensorRounding
from medfl.secure_aggregation.vector import ModularVector, zero_vector


def encode_update(
    layout: VectorLayout,
    tensors: Mapping[str, NDArray[np.floating]],
    weight: int,
    counters: Mapping[str, int],
    secret: bytes,
    attempt: Attempt,
) -> ModularVector:
    """Encode the update of a site.

    Beyond the update and the result, it needs memory for a few hundred thousand values at a time.

    Parameters
    ----------
    layout : VectorLayout
        Layout of the round.
    tensors : mapping of str to ndarray
        The tensors of the layout, not weighted.
    weight : int
        Weight of the site, from 0 to the ceiling of the layout.
    counters : mapping of str to int
        The further counters of the layout.
    secret : bytes
        Secret of the site, from which the chance of rounding is derived.
    attempt : Attempt
        What it is encoded for.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-LAYOUT`` for other tensors, shapes or counters, ``SECAGG-WEIGHT`` for a weight or count out of range,
        ``SECAGG-NOT-FINITE``.
    """
    _require_fit(layout, tensors, counters)
    if type(weight) is not int or not 0 <= weight <= layout.weight_ceiling:
        raise _refuse("the weight of the site is not a whole number from 0 to the ceiling of the study.")
    vector, clipped, start = zero_vector(layout), 0, 0
    for tensor in layout.tensors:
        part = vector.parameters[start : start + tensor.size]
        share = weight / layout.weight_ceiling
        rounding = TensorRounding(secret, attempt, tensor.name)
        clipped += _encode_tensor(layout, tensor, tensors[tensor.name].reshape(-1), share, rounding, part)
        start += tensor.size
    counts = {SITES: 1, WEIGHT: weight, CLIPPED: clipped, **counters}
    if not all(type(n) is int and abs(n) <= layout.counter_limit for n in counts.values()):
        raise _refuse("a count is not a whole number of a size that can be summed.")
    vector.counters[:] = np.array([counts[name] for name in layout.all_counters], np.int64).view(np.uint64)
    return vector


def _encode_tensor(
    layout: VectorLayout,
    tensor: TensorLayout,
    values: NDArray[np.floating],
    share: float,
    rounding: TensorRounding,
    encoded: NDArray[np.unsignedinteger],
) -> int:
    """Write the integers of one tensor, and return how many of its values were clipped."""
    clipped, signed = 0, np.dtype(f"i{layout.bits // 8}")
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK].astype(np.float64)
        if not np.isfinite(chunk).all():
            raise not_finite_error()
        clipped += int(np.count_nonzero(np.abs(chunk) > tensor.bound))
        if tensor.bound == 0:
            continue
        np.clip(chunk, -tensor.bound, tensor.bound, out=chunk)
        chunk /= tensor.bound
        chunk *= share * layout.levels
        rounded = np.clip(rounding.round(chunk), -layout.levels, layout.levels)
        encoded[start : start + CHUNK] = rounded.astype(signed).view(layout.dtype)
    return clipped


def _require_fit(layout: VectorLayout, tensors: Mapping[str, NDArray[np.floating]], counters: Mapping[str, int]) -> None:
    shapes = {name: array.shape for name, array in tensors.items()}
    if shapes != {tensor.name: tensor.shape for tensor in layout.tensors} or set(counters) != set(layout.counters):
        what = "the update has other tensors, shapes or counters than the layout of the round."
        raise SecureAggregationError("SECAGG-LAYOUT", what, "Both sides need the same version of medfl and the same model.")
    if not all(np.issubdtype(array.dtype, np.floating) for array in tensors.values()):
        what = "a tensor of the update holds no floating point numbers, so there is no mean of it."
        raise SecureAggregationError("SECAGG-LAYOUT", what, "Leave it out of what is exchanged.")


def _refuse(what: str) -> SecureAggregationError:
    return SecureAggregationError("SECAGG-WEIGHT", what, "Raise the ceiling in the study, or let the site weigh less.")
