"""Exact sums of weighted floats, block by block: fixed-point numbers that move with the values, and a file for the rest.

A float is a whole number times a power of two, and so is a sum of floats. Each block keeps its sums as whole numbers of one
such power, its step, in one int64 a value. When a smaller value comes, the step becomes smaller and the sums are shifted; when
they outgrow 62 bits, a second digit takes the upper part. Both together hold 86 bits for float32 and 104 for float64, which
real models do not fill. A value that would need more, far smaller or larger than its neighbours, is left over for the end, as
it is. Nothing is rounded before the end, so a sum depends on no order.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.aggregate.float_pairs import DIGIT_BITS, divide, leading_floats, nearest_and_rest
from medfl.aggregate.float_parts import (
    FORMATS,
    Weight,
    exponent_above,
    halves,
    odd_and_exponent,
    power_of_two,
    quantum_exponent,
)
from medfl.aggregate.leftover_values import LeftoverValues
from medfl.messages.models import BLOCK, Tensor

_LOW_LIMIT = 2**62  # of the lower digit; a carry leaves 56 bits
_SHIFTER_LIMIT = 2**51  # values, in steps, that _add_quickly can take
_HEADROOM = 20  # bits kept free above a reply when the step cannot be as small as its smallest value asks
_SPREAD = 12  # bits by which few values are smaller than the median
_LEAST_STEP, _GREATEST_STEP = -960, 900  # exponents, so that weight / step is a float of full precision
_BASE = -1200  # every product of a float and a weight is a whole number of 2**_BASE


class BlockSums:
    """Sums of one block of one tensor: ``(high * 2**56 + low) * 2**exponent``, and what is left over.

    Parameters
    ----------
    low : ndarray of int64
        Memory for the lower digits, all 0, of shape (size,); at most `BLOCK`.
    dtype : dtype
        Type of the model's tensor.
    """

    def __init__(self, low: NDArray[np.int64], dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._low = low
        self._high: NDArray[Any] | None = None  # only once it is needed
        self._window = DIGIT_BITS + (48 if dtype.itemsize == 8 else 30)  # bits of the whole sum
        self._exponent: int | None = None  # of the step; none before the first value that is not 0
        self._low_bound = self._bound = 0  # of the absolute values of the lower digit and of the sums, in steps
        self._surplus = 0  # that the lower digit holds besides, modulo 2**64
        self._records: list[int] = []  # of its leftovers

    def add(self, values: Tensor, span: tuple[float, float], weight: Weight, leftovers: LeftoverValues, buffer: Tensor) -> None:
        """Add ``weight * values``.

        Parameters
        ----------
        values : ndarray
            Finite values, of shape (size,).
        span : tuple of float
            The smallest magnitude above 0 among them, and the largest; as `magnitudes` returns them.
        weight : Weight
            The weight.
        leftovers : LeftoverValues
            Takes the values that do not fit.
        buffer : ndarray of float64
            Working memory, four blocks.
        """
        smallest, largest = span
        if not largest:
            return
        lowest, top = quantum_exponent(smallest, values.dtype) + weight.unit, exponent_above(largest) + weight.exponent
        if self._exponent is None:
            self._exponent = self._first_step(values, weight, lowest, top)
        elif lowest < self._exponent:
            self._move_step(max(lowest, _LEAST_STEP), top)
        exponent = self._exponent or 0
        if lowest < exponent or self._bound + (1 << max(top - exponent, 0)) > 1 << self._window:
            fits = self._find_fitting(values, weight)
            if self._bound and self._count_sums() <= values.size - np.count_nonzero(fits):
                self._start_anew(leftovers)
                self.add(values, span, weight, leftovers, buffer)
                return
            values, largest = self._set_aside(values, fits, weight, leftovers)
        bound = _steps(largest, weight.value, exponent)
        self._bound += bound
        quick = values.dtype.itemsize < 8 and bound < _LOW_LIMIT // 2
        if quick and _steps(largest, 1.0, exponent - weight.unit) < _SHIFTER_LIMIT:
            self._add_quickly(values, weight, bound, buffer)
            return
        for part in weight.short_parts if values.dtype.itemsize == 8 else weight.parts:
            for half in halves(values, buffer):
                np.multiply(half, math.ldexp(part, -exponent), out=half)
                self._add_steps(half, bound, buffer[2 * BLOCK :])

    def mean(self, weight: Fraction, leftovers: LeftoverValues, out: Tensor) -> None:
        """Write the sums divided by a weight into `out`, of shape (size,), rounded once or twice from the exact sums."""
        total, rest = self._floats()
        np.copyto(out, divide(total, rest, weight, self._dtype) * math.ldexp(1.0, self._exponent or 0), casting="same_kind")
        if self._records:
            self._mean_of_leftovers(weight, leftovers, out)

    def _first_step(self, values: Tensor, weight: Weight, lowest: int, top: int) -> int:
        """Return the exponent of a step for products from 2**lowest to 2**top, or at least for most of them."""
        step = lowest
        if top + _HEADROOM - lowest > self._window:
            sizes = np.abs(values[values != 0])
            median = exponent_above(float(np.partition(sizes, sizes.size // 2)[sizes.size // 2])) + weight.exponent
            product_bits = FORMATS[values.dtype.itemsize][0] + 1 + weight.exponent - weight.unit
            step = max(lowest, median - max(self._window - _HEADROOM, product_bits + _SPREAD))
        return min(max(step, _LEAST_STEP), _GREATEST_STEP)

    def _move_step(self, lowest: int, top: int) -> None:
        """Make the step as small as products from 2**lowest to 2**top ask, as far as there is room."""
        assert self._exponent is not None
        used = max(self._bound.bit_length(), top - self._exponent)
        shift = min(self._exponent - lowest, self._window - _HEADROOM - used)
        if shift > 0:
            self._shift(shift)

    def _find_fitting(self, values: Tensor, weight: Weight) -> NDArray[np.bool_]:
        """Return which values fit beside the sums."""
        exponent, room = self._exponent or 0, max((1 << self._window) - self._bound, 1).bit_length() - 1
        return _fitting(values, exponent - weight.unit, power_of_two(room + exponent - weight.exponent))

    def _set_aside(
        self, values: Tensor, fits: NDArray[np.bool_], weight: Weight, leftovers: LeftoverValues
    ) -> tuple[Tensor, float]:
        """Leave the values that do not fit for the end, and return the others, 0 in their place, and the largest of these."""
        places = np.flatnonzero(~fits)
        if places.size:
            self._records.append(leftovers.put(weight.value, places, values[places]))
        values = np.where(fits, values, values.dtype.type(0))
        return values, float(np.abs(values).max())

    def _count_sums(self) -> int:
        """Return how many sums are not 0."""
        self._take_surplus_off()
        return int(np.count_nonzero(self._low if self._high is None else self._low | self._high))

    def _start_anew(self, leftovers: LeftoverValues) -> None:
        """Leave the sums for the end and let the next reply decide on the step, as more of its values do not fit."""
        unit = math.ldexp(1.0, self._exponent or 0)
        for part in self._floats():
            places = np.flatnonzero(part)
            if places.size:
                self._records.append(leftovers.put(unit, places, part[places]))
        self._low[:] = 0
        if self._high is not None:
            self._high[:] = 0
        self._exponent, self._low_bound, self._bound = None, 0, 0

    def _floats(self) -> tuple[Tensor, Tensor]:
        """Return the sums in steps, as the nearest floats and the rests."""
        self._take_surplus_off()
        if self._high is not None:
            self._carry()
        return nearest_and_rest(self._low, self._high)

    def _shift(self, bits: int) -> None:
        """Divide the step by 2**bits."""
        assert self._exponent is not None
        self._take_surplus_off()
        self._exponent -= bits
        self._bound <<= bits
        if self._low_bound << bits < _LOW_LIMIT:
            self._low <<= bits
            self._low_bound <<= bits
            if self._high is not None:
                self._high <<= bits
            return
        self._carry()
        assert self._high is not None
        while bits:
            part = min(bits, DIGIT_BITS)
            upper = self._low >> (DIGIT_BITS - part)
            self._high <<= part
            np.add(self._high, upper, out=self._high, casting="same_kind")
            self._low -= upper << (DIGIT_BITS - part)
            self._low <<= part
            bits -= part

    def _carry(self) -> None:
        """Move all but the last 56 bits of the lower digit to the upper one."""
        self._take_surplus_off()
        if self._high is None:
            self._high = np.zeros(self._low.size, f"i{max(4, self._dtype.itemsize)}")
        np.add(self._high, self._low >> DIGIT_BITS, out=self._high, casting="same_kind")
        self._low &= 2**DIGIT_BITS - 1
        self._low_bound = 2**DIGIT_BITS

    def _add_quickly(self, values: Tensor, weight: Weight, bound: int, buffer: Tensor) -> None:
        """Add what float64 holds with bits to spare.

        Adding 1.5 * 2**52 units to fewer than 2**51 whole units leaves their number in the low bits of the sum: faster than a
        conversion. The other bits, the shifter's, are taken off later; all is modulo 2**64.
        """
        assert self._exponent is not None
        odd, unit = (1, 0) if bound < _SHIFTER_LIMIT else (weight.odd, weight.unit)  # (1, 0): weighted as floats, faster
        shifted, near = buffer[: values.size], buffer[BLOCK : 2 * BLOCK].view(values.dtype)[: values.size]
        np.copyto(near, values)  # into the cache, as converting from far memory takes longer than both
        np.copyto(shifted, near)
        if bound < _SHIFTER_LIMIT:
            shifted *= weight.value
        shifter = math.ldexp(1.5, 52 + self._exponent - unit)
        shifted += shifter
        whole = shifted.view(np.int64)
        if odd != 1:
            whole *= odd
        self._make_room(bound)
        self._low += whole
        self._surplus += odd * int(np.float64(shifter).view(np.int64))

    def _make_room(self, bound: int) -> None:
        """Carry if so many steps more would be too many for the lower digit."""
        if self._low_bound + bound >= _LOW_LIMIT:
            self._carry()
        self._low_bound += bound

    def _add_steps(self, steps: Tensor, bound: int, buffer: Tensor) -> None:
        """Add whole numbers of steps, given as floats, which are overwritten; `buffer` holds two blocks."""
        whole, spare = buffer[: steps.size].view(np.int64), buffer[BLOCK : BLOCK + steps.size]
        if bound >= _LOW_LIMIT // 2:
            if self._high is None:
                self._carry()
            assert self._high is not None
            upper = np.multiply(steps, 2.0**-DIGIT_BITS, out=spare)
            np.rint(upper, out=upper)
            np.copyto(whole, upper, casting="unsafe")
            np.add(self._high, whole, out=self._high, casting="same_kind")
            upper *= 2.0**DIGIT_BITS
            steps -= upper
            bound = 2 ** (DIGIT_BITS - 1)
        self._make_room(bound)
        np.copyto(whole, steps, casting="unsafe")
        self._low += whole

    def _take_surplus_off(self) -> None:
        if self._surplus:
            self._low -= np.int64((self._surplus + 2**63) % 2**64 - 2**63)
            self._surplus = 0

    def _mean_of_leftovers(self, weight: Fraction, leftovers: LeftoverValues, out: Tensor) -> None:
        """Replace the means of the values that have something left over, with whole numbers of any size."""
        sums: NDArray[np.object_] = np.zeros(out.size, object)
        touched = np.zeros(out.size, bool)
        for part, places, values in map(leftovers.read, self._records):
            touched[places] = True
            fractions, exponents = np.frexp(values)
            factor, power = odd_and_exponent(part)
            wholes = np.ldexp(fractions, 53).astype(np.int64).astype(object) * factor
            sums[places] += wholes << (exponents.astype(np.int64) - 53 + power - _BASE).astype(object)
        left = np.flatnonzero(touched)
        own = self._low[left].astype(object)
        if self._high is not None:
            own += self._high[left].astype(object) << DIGIT_BITS
        sums = sums[left] + (own << ((self._exponent or 0) - _BASE))
        parts = [leading_floats(number) for number in sums]
        total, rest = (np.array([part[k] for part in parts], np.float64) for k in (0, 1))
        quotients = divide(total, rest, weight, self._dtype)
        out[left] = np.ldexp(quotients, np.array([part[2] + _BASE for part in parts]))


def _steps(largest: float, weight: float, exponent: int) -> int:
    """Return a bound of ``largest * weight`` in steps, at most one part in 10 million too large."""
    (a, i), (b, j) = math.frexp(largest), math.frexp(weight)
    return int(math.ldexp(a * b * (1 + 1e-7), i + j - exponent)) + 1


def _fitting(values: Tensor, lowest: int, limit: float) -> NDArray[np.bool_]:
    """Return which values are multiples of 2**lowest by their size, and below a limit."""
    sizes, (digits, least_quantum) = np.abs(values).astype(np.float64), FORMATS[values.dtype.itemsize]
    least = 0.0 if lowest <= least_quantum else power_of_two(lowest + digits)
    return np.asarray((sizes == 0) | ((sizes >= least) & (sizes < limit)))
