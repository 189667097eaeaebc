"""Means of replies that are added one by one as they arrive, so that memory does not grow with their number.

The sums of `ExactMean` are exact, so the order of arrival cannot change one bit of the result. `FloatMean` sums floats: it is
faster, and its last bits depend on the order. A reply that is refused leaves the sums unchanged. Floating-point tensors are
averaged; integer and boolean tensors (counters such as ``num_batches_tracked``) become the elementwise maximum over the
replies, which depends on no order and needs no rounding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from medfl.aggregate.exact_sums import BlockSums
from medfl.aggregate.float_parts import Weight, magnitudes, short_weight
from medfl.aggregate.leftover_values import LeftoverValues
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


class Mean(ABC):
    """Weighted mean of models that arrive one by one.

    Parameters
    ----------
    reference : mapping of str to ndarray
        The model that was sent out: it decides the names, shapes and types that a reply must have.

    Raises
    ------
    ExchangeError
        ``MODEL-TYPE`` for a tensor that is neither floating point (16, 32, 64 bits), integer nor boolean.
    """

    def __init__(self, reference: Tensors) -> None:
        self._layout = layout_of(reference)
        self._floats = tuple(name for name, (_, dtype) in self._layout.items() if dtype.kind == "f")
        self._sums: dict[str, Any] = {}  # by tensor, as the kind of mean keeps them
        self._maxima: dict[str, Tensor] = {}
        self._total = Fraction(0)
        self._is_whole = True  # False while a reply is added, and for good once adding one has failed
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
            Its weight, usually a count of patients or samples, from 2**-10 to 2**53.

        Raises
        ------
        ExchangeError
            ``WEIGHT-RANGE``, ``MODEL-MISMATCH``, ``UPDATE-NONFINITE``, or ``UPDATE-RANGE`` for what a `FloatMean` cannot
            hold. The sums are unchanged then.
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER`` when an `ExactMean` cannot write what has to wait on disk. Part of the reply is in
            the sums then, as after any other failure, such as of memory: this mean takes no more replies and gives no result.
        RuntimeError
            When adding an earlier reply has failed so.
        """
        self._check_whole()
        check_weight(weight)
        check_layout(arrays, self._layout)
        self._is_whole = False
        try:
            self._add(flatten(arrays), weight)
        except ExchangeError:
            self._is_whole = True
            raise
        for name, (_, dtype) in self._layout.items():
            if dtype.kind != "f":
                known = self._maxima.get(name)
                self._maxima[name] = np.array(arrays[name]) if known is None else np.maximum(known, arrays[name])
        self._total += Fraction(weight)
        self.count += 1
        self._is_whole = True

    def results(self, *, drain: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yield the mean tensor by tensor, in the names, order, shapes and types of the reference.

        Parameters
        ----------
        drain : bool
            Free the sum of each tensor once its mean is made: less memory, and the mean can be made only once.

        Raises
        ------
        ExchangeError
            ``WEIGHT-ZERO`` when nothing was folded.
        RuntimeError
            When adding a reply has failed for another reason than its content.
        """
        self._check_whole()
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

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise RuntimeError("adding a reply failed half way, so this mean is of no more use: make a new one")

    @abstractmethod
    def _add(self, flat: dict[str, Tensor], weight: float) -> None:
        """Add the flattened floating-point tensors of one reply, or raise and change nothing."""

    @abstractmethod
    def _average(self, name: str, out: Tensor) -> None:
        """Write the mean of one tensor into `out`, of shape (size,)."""


class ExactMean(Mean):
    """Weighted mean of which the sums are exact, so that it has the same bits in whatever order the replies arrive.

    For whole weights up to 2**53 the mean of finite replies is right to one unit in the last place, however large or small they
    are; replies that are all equal give that very model, but 0.0 for -0.0. Other weights are rounded to 29 bits first, each by
    at most 2**-29 of itself, and the mean is right to one unit for those. The method and its proof: ``docs/decisions``, "The
    mean is exact".

    Memory: two to three float32 models, an int64 a value and where needed another 32 bits. Values that differ by more than
    about 2**40 within a block wait for the end of the round on disk, the fewer of them, which takes longer.

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
        self._sums = {name: _block_sums(*self._layout[name]) for name in self._floats}
        self._leftovers = LeftoverValues()
        self._buffer = np.empty(4 * BLOCK)

    def add(self, arrays: Tensors, weight: float) -> None:
        """Add one reply, as `Mean.add`; a weight that is no whole number is rounded to 29 bits."""
        super().add(arrays, short_weight(weight))

    def _add(self, flat: dict[str, Tensor], weight: float) -> None:
        spans = []
        for name, _, block in iter_blocks(flat):
            spans.append(magnitudes(block, self._buffer))
            if not math.isfinite(spans[-1][1]):
                raise out_of_range_error(name, spans[-1][1])
        factor = Weight(weight)
        for (name, start, block), span in zip(iter_blocks(flat), spans, strict=True):
            self._sums[name][start // BLOCK].add(block, span, factor, self._leftovers, self._buffer)

    def _average(self, name: str, out: Tensor) -> None:
        for start, sums in enumerate(self._sums[name]):
            sums.mean(self._total, self._leftovers, out[start * BLOCK : (start + 1) * BLOCK])


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


def _block_sums(shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[BlockSums]:
    low = np.zeros(math.prod(shape), np.int64)  # one array for all blocks: large ones get large pages
    return [BlockSums(low[start : start + BLOCK], dtype) for start in range(0, low.size, BLOCK)]
