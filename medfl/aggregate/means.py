"""Means of replies that are added one by one as they arrive, so that memory does not grow with their number.

`ExactMean` sums integers, so the order of arrival cannot change one bit of the result. `FloatMean` sums floats: it is faster,
and its last bits depend on the order. A reply that is refused leaves the sums unchanged. Floating-point tensors are averaged;
integer and boolean tensors (counters such as ``num_batches_tracked``) become the elementwise maximum over the replies, which
depends on no order and needs no rounding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medfl.errors import ExchangeError
from medfl.messages.models import (
    BLOCK,
    Tensor,
    Tensors,
    check_layout,
    check_weight,
    flatten,
    iter_blocks,
    layout_of,
    max_abs,
    max_abs_bound,
    out_of_range_error,
)

FRACTION_BITS = 30  # a reply of weight 1 is rounded to 2**-30 of the scale of its tensor
_REPLY_LIMIT = 2.0**60  # largest value of one reply, in grid steps
_SUM_LIMIT = 2**63

# Adding 1.5 * 2**52 to a float64 below 2**51 rounds it half to even, like rint, and leaves the integer in the low bits.
_SHIFTER = 1.5 * 2.0**52
_SHIFTER_LIMIT = 2.0**51
_SHIFTER_BITS = int(np.float64(_SHIFTER).view(np.int64))


class Mean(ABC):
    """Weighted mean of models that arrive one by one.

    Parameters
    ----------
    reference : mapping of str to ndarray
        The model that was sent out: it decides the names, shapes and types that a reply must have.

    Raises
    ------
    ExchangeError
        ``MODEL-TYPE`` for a tensor that is neither floating point (16, 32, 64 bits), integer nor boolean;
        ``UPDATE-NONFINITE`` when the reference itself is not finite.
    """

    def __init__(self, reference: Tensors) -> None:
        self._layout = layout_of(reference)
        self._floats = tuple(name for name, (_, dtype) in self._layout.items() if dtype.kind == "f")
        self._sums: dict[str, Tensor] = {}
        self._maxima: dict[str, Tensor] = {}
        self._total = Fraction(0)
        self.count = 0

    @property
    def weight(self) -> float:
        """Sum of the weights so far, as fractions: it does not depend on the order either."""
        return float(self._total)

    def add(self, arrays: Tensors, weight: float) -> None:
        """Add one reply.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            The reply: names, shapes and types of the reference, in any order. Narrower floats are summed in the model's width.
        weight : float
            Its weight, usually a count of patients or samples, from 2**-10 to 2**40.

        Raises
        ------
        ExchangeError
            ``WEIGHT-RANGE``, ``MODEL-MISMATCH``, ``UPDATE-NONFINITE`` or ``UPDATE-RANGE``. The sums are unchanged then.
        """
        check_weight(weight)
        check_layout(arrays, self._layout)
        self._add(flatten(arrays), weight)
        for name, (_, dtype) in self._layout.items():
            if dtype.kind != "f":
                known = self._maxima.get(name)
                self._maxima[name] = np.array(arrays[name]) if known is None else np.maximum(known, arrays[name])
        self._total += Fraction(weight)
        self.count += 1

    def results(self, *, drain: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yield the mean tensor by tensor, in the names, order, shapes and types of the reference.

        Parameters
        ----------
        drain : bool
            Free the sum of each tensor once its mean is made: less memory, and the mean can be made only once.

        Raises
        ------
        ExchangeError
            ``WEIGHT-ZERO`` when nothing was folded, ``UPDATE-RANGE`` when the sum of all replies was too large.
        """
        if not self.count:
            raise ExchangeError("WEIGHT-ZERO", "there is no reply to average.", "See why each reply was left out.")
        for name, (shape, dtype) in self._layout.items():
            if dtype.kind == "f":
                flat = np.empty(math.prod(shape), dtype)
                self._average(name, flat)
                yield name, flat.reshape(shape)
            else:
                yield name, np.array(self._maxima[name], dtype)
            if drain:
                self._sums.pop(name, None)

    def result(self) -> dict[str, Tensor]:
        """Return the mean as a whole model; raises like `results`."""
        return dict(self.results())

    @abstractmethod
    def _add(self, flat: dict[str, Tensor], weight: float) -> None:
        """Add the flattened floating-point tensors of one reply, or raise and change nothing."""

    @abstractmethod
    def _average(self, name: str, out: Tensor) -> None:
        """Write the mean of one tensor into `out`, of shape (size,)."""


class ExactMean(Mean):
    """Weighted mean that has the same bits in whatever order the replies arrive.

    Every tensor has a grid of values that is fixed before the first reply: its step is ``2**-30`` of the power of two that
    holds the largest value of the reference, at least 1. A reply adds ``rint(weight * x / step)`` as 64-bit integers. That
    number depends on the reply alone, and integer addition is associative and commutative, so the order does not matter. For
    weights of 1 or more the error is at most ``2**-31`` of that scale. An int64 a value: two float32 models.

    Parameters
    ----------
    reference : mapping of str to ndarray
        The model that was sent out.

    Examples
    --------
    >>> mean = ExactMean({"w": np.zeros(2, np.float32)})
    >>> mean.add({"w": np.array([1, 2], np.float32)}, 3)
    >>> mean.add({"w": np.array([5, 2], np.float32)}, 1)
    >>> mean.result()["w"].tolist()
    [2.0, 2.0]
    """

    def __init__(self, reference: Tensors) -> None:
        super().__init__(reference)
        self._bits = {name: FRACTION_BITS - _scale_exponent(name, reference[name]) for name in self._floats}
        self._sums = {name: np.zeros(reference[name].size, np.int64) for name in self._floats}
        self._bounds = dict.fromkeys(self._floats, 0)  # of the absolute sums, in grid steps
        self._buffer = np.empty(BLOCK, np.float64)

    def _add(self, flat: dict[str, Tensor], weight: float) -> None:
        bounds = dict.fromkeys(self._floats, 0.0)
        for name, start, block in iter_blocks(flat):
            scale = math.ldexp(float(weight), self._bits[name])
            bound = max_abs_bound(block)
            if not bound * scale < _SHIFTER_LIMIT:
                bound = max_abs(block)
            if not bound * scale < _REPLY_LIMIT:
                self._rollback(flat, weight, stop=(name, start))
                raise out_of_range_error(name, bound)
            bounds[name] = max(bounds[name], bound * scale)
            part = self._sums[name][start : start + block.size]
            np.add(part, self._to_grid(block, scale, bound), out=part)
        for name, bound in bounds.items():
            self._bounds[name] += math.ceil(bound)

    def _rollback(self, flat: dict[str, Tensor], weight: float, stop: tuple[str, int]) -> None:
        for name, start, block in iter_blocks(flat):
            if (name, start) == stop:
                return
            scale = math.ldexp(float(weight), self._bits[name])
            part = self._sums[name][start : start + block.size]
            np.subtract(part, self._to_grid(block, scale, max_abs(block)), out=part)

    def _to_grid(self, block: Tensor, scale: float, bound: float) -> NDArray[np.int64]:
        """Round a block to the grid; every number is _SHIFTER_BITS too large, which the result takes off (modulo 2**64)."""
        scaled = self._buffer[: block.size]
        np.copyto(scaled, block)
        np.multiply(scaled, scale, out=scaled)
        if bound * scale < _SHIFTER_LIMIT:
            np.add(scaled, _SHIFTER, out=scaled)
            return scaled.view(np.int64)
        return np.rint(scaled).astype(np.int64) + np.int64(_SHIFTER_BITS)

    def _average(self, name: str, out: Tensor) -> None:
        if self._bounds[name] >= _SUM_LIMIT:
            raise ExchangeError(
                "UPDATE-RANGE", f"the replies' sum of tensor {name!r} is too large.", "Look for diverging sites."
            )
        factor = math.ldexp(1.0, -self._bits[name]) / self.weight
        for start in range(0, out.size, BLOCK):
            values = self._from_grid(self._sums[name][start : start + BLOCK], self._bounds[name])
            np.multiply(values, factor, out=values)
            out[start : start + BLOCK] = values

    def _from_grid(self, sums: NDArray[np.int64], bound: int) -> NDArray[np.float64]:
        values = self._buffer[: sums.size]
        if bound < _SHIFTER_LIMIT:  # the inverse of _to_grid: one shift is kept, and taken off as a float
            np.subtract(sums, _wrap_int64((self.count - 1) * _SHIFTER_BITS), out=values.view(np.int64))
            np.subtract(values, _SHIFTER, out=values)
        else:
            np.copyto(values, sums - _wrap_int64(self.count * _SHIFTER_BITS))
        return values


class FloatMean(Mean):
    """Weighted mean in floating point: float32 sums for tensors of 16 and 32 bits, float64 sums for those of 64.

    Faster than `ExactMean` and half its memory; the last bits depend on the order of arrival.

    Parameters
    ----------
    reference : mapping of str to ndarray
        The model that was sent out.
    """

    def __init__(self, reference: Tensors) -> None:
        super().__init__(reference)
        self._sums = {
            name: np.zeros(reference[name].size, np.float64 if reference[name].dtype.itemsize == 8 else np.float32)
            for name in self._floats
        }
        self._buffers: dict[np.dtype[Any], Tensor] = {s.dtype: np.empty(BLOCK, s.dtype) for s in self._sums.values()}

    def _add(self, flat: dict[str, Tensor], weight: float) -> None:
        for name, _, block in iter_blocks(flat):
            limit = float(np.finfo(self._sums[name].dtype).max) / 2**10
            if not max_abs_bound(block) * weight < limit and not max_abs(block) * weight < limit:
                raise out_of_range_error(name, max_abs(block))
        for name, start, block in iter_blocks(flat):
            part = self._sums[name][start : start + block.size]
            product = self._buffers[part.dtype][: block.size]
            np.multiply(block, part.dtype.type(weight), out=product)
            np.add(part, product, out=part)

    def _average(self, name: str, out: Tensor) -> None:
        for start in range(0, out.size, BLOCK):
            out[start : start + BLOCK] = self._sums[name][start : start + BLOCK] / self.weight


MeanName = Literal["exact", "float"]
MEANS: dict[MeanName, type[Mean]] = {"exact": ExactMean, "float": FloatMean}


def _wrap_int64(number: int) -> np.int64:
    return np.int64((number + 2**63) % 2**64 - 2**63)


def _scale_exponent(name: str, values: Tensor) -> int:
    largest = 1.0
    for _, _, block in iter_blocks({name: np.ascontiguousarray(values).reshape(-1)}):
        found = max_abs(block)
        if not math.isfinite(found):
            raise out_of_range_error(name, found)
        largest = max(largest, found)
    mantissa, exponent = math.frexp(largest)
    return exponent - 1 if mantissa == 0.5 else exponent
