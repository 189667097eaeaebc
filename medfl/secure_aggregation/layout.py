"""The layout of the vector that is summed: which values it holds, in which range, and why a sum of them cannot wrap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.canonical import digest
from medfl.secure_aggregation.roster import MAX_SITES, MIN_SURVIVORS

SITES, WEIGHT, CLIPPED = "sites", "weight", "clipped"  # counters that every vector holds
CHUNK = 1 << 18  # values worked on at a time
_BITS = (16, 32)
_SMALLEST_BOUND = float(np.finfo(np.float32).tiny)
_LARGEST_BOUND = float(np.finfo(np.float32).max)
_COUNTER_LIMIT = (1 << 63) - 1


@dataclass(frozen=True)
class TensorLayout:
    """A tensor of the vector.

    Parameters
    ----------
    name : str
        Its name.
    shape : tuple of int
        Its shape.
    bound : float
        Values lie in ``[-bound, bound]``, in the unit of the tensor; what lies beyond is clipped, and counted. 0 for a tensor
        that does not change.
    """

    name: str
    shape: tuple[int, ...]
    bound: float

    @property
    def size(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class VectorLayout:
    """The layout of the vector of a round, the same for every site; its digest is bound into every mask.

    Parameters
    ----------
    tensors : tuple of TensorLayout
        The tensors of an update, in their order.
    bits : int
        16 or 32: parameters are summed modulo ``2**bits``.
    sites : int
        Sites of the roster: as many may be summed without wrapping.
    weight_ceiling : int
        No site weighs more; the closer it is to what sites weigh, the finer the steps of a mean.
    counters : tuple of str
        Further counts that are summed, modulo 2**64.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-LAYOUT`` when a field is none of these.
    """

    tensors: tuple[TensorLayout, ...]
    bits: int
    sites: int
    weight_ceiling: int
    counters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [tensor.name for tensor in self.tensors]
        if self.bits not in _BITS or not MIN_SURVIVORS <= self.sites <= MAX_SITES:
            raise _refuse(f"a layout has 16 or 32 bits, and {MIN_SURVIVORS} to {MAX_SITES} sites.")
        if len(set(names)) < len(names) or len(set(self.all_counters)) < len(self.all_counters):
            raise _refuse("a tensor or a counter stands in the layout twice.")
        if type(self.weight_ceiling) is not int or not 1 <= self.weight_ceiling <= self.counter_limit:
            raise _refuse(
                "the ceiling of a weight is a whole number from 1, and as many of them as there are sites fit 63 bits."
            )
        if any(n < 0 for tensor in self.tensors for n in tensor.shape) or self.size > self.counter_limit:
            raise _refuse("a shape of the layout is negative or too large.")
        if not all(t.bound == 0 or _SMALLEST_BOUND <= t.bound <= _LARGEST_BOUND for t in self.tensors):
            raise _refuse("the range of a tensor is 0, or a positive number that float32 holds.")

    @property
    def all_counters(self) -> tuple[str, ...]:
        """Names of all counters, those of every vector first."""
        return (SITES, WEIGHT, CLIPPED, *self.counters)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Type of the parameters."""
        return np.dtype(np.uint16 if self.bits == 16 else np.uint32)

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def levels(self) -> int:
        """Steps from 0 to the bound of a tensor: ``sites * levels`` is below ``2**(bits - 1)``, so no sum wraps."""
        return ((1 << (self.bits - 1)) - 1) // self.sites

    @property
    def counter_limit(self) -> int:
        """Largest size of a counter of one site; the sum of all fits 63 bits and a sign."""
        return _COUNTER_LIMIT // self.sites

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the layout, hexadecimal."""
        return digest("layout", asdict(self))


def bounds_from(arrays: Mapping[str, NDArray[np.floating]], margin: float) -> dict[str, float]:
    """Return a range for each tensor from its largest value, for example in the last aggregate.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Tensors by name.
    margin : float
        The range is this many times the largest value.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-NOT-FINITE`` when a value is not a number.
    """
    bounds = {name: margin * float(np.max(np.abs(array), initial=0.0)) for name, array in arrays.items()}
    if not all(math.isfinite(bound) for bound in bounds.values()):
        raise not_finite_error()
    return {name: bound if bound >= _SMALLEST_BOUND else 0.0 for name, bound in bounds.items()}


def not_finite_error() -> SecureAggregationError:
    """Return the error of an update that has values which are not numbers."""
    what = "a value of the update is not a finite number, and has no place in a sum of integers."
    return SecureAggregationError("SECAGG-NOT-FINITE", what, "Training diverged: lower the learning rate.")


def _refuse(what: str) -> SecureAggregationError:
    return SecureAggregationError("SECAGG-LAYOUT", what, "Both sides need the same version of medfl and the same model.")
