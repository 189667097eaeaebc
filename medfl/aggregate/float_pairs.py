"""Numbers of more than 53 bits as pairs of floats: the nearest float64, and the rest."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.messages.models import Tensor

DIGIT_BITS = 56  # of the lower of two digits


def nearest_and_rest(low: NDArray[np.int64], high: NDArray[np.signedinteger[Any]] | None) -> tuple[Tensor, Tensor]:
    """Return whole numbers as the nearest float64 and the rest, both exact.

    Parameters
    ----------
    low : ndarray of int64
        Lower digits, from 0 to 2**56; without upper ones the numbers themselves, below 2**62 by size.
    high : ndarray of int32 or int64, optional
        Upper digits, below 2**48 by size.
    """
    if high is None:
        total = low.astype(np.float64)
        return total, (low - total.astype(np.int64)).astype(np.float64)
    upper_half = low >> (DIGIT_BITS - 1)  # 1 for such digits: they become negative, the digits above them one more
    low = low - (upper_half << DIGIT_BITS)
    first = (high + upper_half).astype(np.float64) * 2.0**DIGIT_BITS
    second = low.astype(np.float64)
    third = (low - second.astype(np.int64)).astype(np.float64)
    total, rest = _two_sum(first, second)
    return _two_sum(total, rest + third)


def leading_floats(number: int) -> tuple[float, float, int]:
    """Return floats a and b and an exponent e of a whole number ``(a + b) * 2**e``, as `nearest_and_rest` rounds it."""
    exponent = max(0, abs(number).bit_length() - 120)
    unit = 1 << exponent
    total = number / unit
    return total, (number - int(total) * unit) / unit, exponent


def divide(total: Tensor, rest: Tensor, weight: Fraction, dtype: np.dtype[Any]) -> Tensor:
    """Return ``(total + rest) / weight`` as float64: to 2**-52 for narrower types, else rounded from 2**-100."""
    divisor = float(weight)
    quotient = total / divisor
    if dtype.itemsize < 8:
        return quotient
    (a, b), (c, d) = _split(quotient), _split(np.float64(divisor))
    product = quotient * divisor
    error = ((a * c - product) + a * d + b * c) + b * d
    remainder = (total - product) - error + (rest - quotient * float(weight - Fraction(divisor)))
    return np.asarray(quotient + remainder / divisor)


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest float of a sum and its error (Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _split(value: Tensor | np.float64) -> tuple[Tensor, Tensor]:
    """Return two floats of at most 26 bits that add up to a float64 (Dekker 1971, https://doi.org/10.1007/BF01397083)."""
    shifted = value * (2.0**27 + 1)
    upper = shifted - (shifted - value)
    return np.asarray(upper), np.asarray(value - upper)
