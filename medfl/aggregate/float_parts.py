"""Floats taken apart: each is an odd whole number times a power of two."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medfl.messages.models import BLOCK, Tensor

WEIGHT_BITS = 29  # of a weight in one product: with the 24 bits of a float32 they are the 53 of a float64
FORMATS = {2: (10, -24), 4: (23, -149), 8: (52, -1074)}  # by bytes: bits after the point, exponent of the least float

_HALF_BITS = 26  # of the 53 of a float64
_HALF_MASK = np.int64(-(2**27))  # leaves that many


@dataclass(frozen=True)
class Weight:
    """Weight of a reply, taken apart once for all its blocks.

    Parameters
    ----------
    value : float
        Above 0.
    """

    value: float

    @cached_property
    def odd(self) -> int:
        """The odd number that it is a power of two times."""
        return odd_and_exponent(self.value)[0]

    @cached_property
    def unit(self) -> int:
        """Exponent of that power of two."""
        return odd_and_exponent(self.value)[1]

    @cached_property
    def exponent(self) -> int:
        """Exponent of the next power of two above the weight."""
        return exponent_above(self.value)

    @cached_property
    def parts(self) -> tuple[float, ...]:
        """Floats of at most 29 bits that add up to it: their products with a float32 are float64 numbers."""
        return tuple(_parts(self.value, WEIGHT_BITS))

    @cached_property
    def short_parts(self) -> tuple[float, ...]:
        """Floats of at most 26 bits that add up to it: their products with 27 bits are float64 numbers."""
        return tuple(_parts(self.value, _HALF_BITS))


def magnitudes(values: Tensor, buffer: Tensor) -> tuple[float, float]:
    """Return the smallest magnitude above 0 and the largest; the largest is not finite whenever a value is not.

    Parameters
    ----------
    values : ndarray
        Floats, of shape (size,), at least one.
    buffer : ndarray of float64
        Working memory, of shape (size,) or larger.

    Examples
    --------
    >>> magnitudes(np.array([0.0, -2.0, 0.5]), np.empty(3))
    (0.5, 2.0)
    """
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    without_sign = 2 ** (8 * values.dtype.itemsize - 1) - 1
    bits = buffer.view(unsigned)[: values.size]  # without the sign, the bits of floats sort by size
    np.bitwise_and(values.view(unsigned), without_sign, out=bits)
    least, greatest = np.minimum.reduce(bits), np.maximum.reduce(bits)
    if not least:
        np.subtract(bits, 1, out=bits)  # 0 becomes the largest number
        least = (int(np.minimum.reduce(bits)) + 1) & without_sign
    smallest, largest = np.array([least, greatest], unsigned).view(values.dtype).tolist()
    return smallest, largest


def short_weight(weight: float) -> float:
    """Return a weight as it is used: whole numbers as they are, others rounded to 29 bits, by 2**-29 of the weight at most."""
    if not math.isfinite(weight) or float(weight).is_integer():
        return float(weight)
    fraction, exponent = math.frexp(weight)
    return math.ldexp(round(math.ldexp(fraction, WEIGHT_BITS)), exponent - WEIGHT_BITS)


def exponent_above(value: float) -> int:
    """Return the e of ``value < 2**e``."""
    return math.frexp(value)[1]


def quantum_exponent(value: float, dtype: np.dtype[Any]) -> int:
    """Return the exponent of the spacing of floats at a value."""
    digits, least = FORMATS[dtype.itemsize]
    return max(math.frexp(value)[1] - 1 - digits, least)


def odd_and_exponent(value: float) -> tuple[int, int]:
    """Return the odd number and the exponent of which a float other than 0 consists."""
    numerator, denominator = value.as_integer_ratio()
    zeros = (numerator & -numerator).bit_length() - 1
    return numerator >> zeros, zeros - denominator.bit_length() + 1


def power_of_two(exponent: int) -> float:
    """Return ``2.0**exponent``, infinite when it is too large for a float."""
    return math.ldexp(1.0, exponent) if exponent < 1024 else math.inf


def halves(values: Tensor, buffer: Tensor) -> Iterator[Tensor]:
    """Yield float64 arrays that add up to the values: one for float32, two of at most 27 bits for float64."""
    first, second = buffer[: values.size], buffer[BLOCK : BLOCK + values.size]
    if values.dtype.itemsize < 8:
        np.copyto(first, values)
        yield first
        return
    np.bitwise_and(values.view(np.int64), _HALF_MASK, out=first.view(np.int64))
    np.subtract(values, first, out=second)
    yield first
    yield second


def _parts(weight: float, bits: int) -> Iterator[float]:
    """Yield floats of at most so many bits that add up to a weight."""
    while weight:
        fraction, exponent = math.frexp(weight)
        part = math.ldexp(int(math.ldexp(fraction, bits)), exponent - bits)
        yield part
        weight -= part
