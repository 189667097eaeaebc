"""Statistics of one tensor of a model by which a crafted one differs from one that was trained."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]

MIN_FAN_IN = 9  # a 3 x 3 filter of one channel: smaller ones are concentrated or alike by chance
_FLAT, _ALIKE, _ONE_HOT = 1e-4, 1e-6, 0.98  # spread beside the largest weight; difference of directions; share of the energy
_SATURATED_SHIFT, _SATURATED_BIAS = 10.0, 100.0  # beside the scale of a normalisation; beside the length of a filter


class Extent(NamedTuple):
    """Size of the values of a tensor: root of their mean square, and the largest."""

    rms: float
    peak: float


class FilterCounts(NamedTuple):
    """Filters of a tensor that random weights and training do not make.

    Parameters
    ----------
    total : int
        Slices along the first axis; 0 where they hold fewer than `MIN_FAN_IN` weights.
    flat : int
        Of these, constant ones, zeros among them.
    one_hot : int
        With nearly all their energy in one weight.
    repeated : int
        Further ones of the direction of another.
    """

    total: int = 0
    flat: int = 0
    one_hot: int = 0
    repeated: int = 0


def measure_extent(tensor: Tensor) -> Extent:
    """Return the size of the values of a tensor; infinity or nan where they are not finite."""
    flat = np.ascontiguousarray(tensor).reshape(-1)
    if not flat.size:
        return Extent(0.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        wide = flat.astype(np.result_type(flat.dtype, np.float32), copy=False)
        square = float(np.dot(wide, wide)) / flat.size
        peak = float(max(abs(float(wide.max())), abs(float(wide.min()))))
    return Extent(math.sqrt(square) if square >= 0 else math.nan, peak)


def measure_change(tensor: Tensor, before: Tensor) -> Extent:
    """Return the size of the difference of two tensors."""
    with np.errstate(over="ignore", invalid="ignore"):
        return measure_extent(np.subtract(tensor, before, dtype=np.result_type(tensor.dtype, np.float32)))


def count_filters(tensor: Tensor) -> FilterCounts:
    """Count the filters of a tensor of weights that no training makes."""
    if tensor.ndim < 2 or tensor.size < MIN_FAN_IN * tensor.shape[0]:
        return FilterCounts()
    rows = np.ascontiguousarray(tensor).reshape(tensor.shape[0], -1)
    with np.errstate(all="ignore"):  # what is not finite is found elsewhere
        high, low = rows.max(axis=1), rows.min(axis=1)
        largest = np.maximum(np.abs(high), np.abs(low)).astype(np.float64)
        flat = (high.astype(np.float64) - low) <= _FLAT * largest
        energy = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        one_hot = ~flat & (largest**2 > _ONE_HOT * energy)
    return FilterCounts(len(rows), int(flat.sum()), int(one_hot.sum()), _count_repeated(rows[~flat], energy[~flat]))


def _count_repeated(rows: Tensor, energy: Tensor) -> int:
    """Count rows of the direction of another, by their angles to two random directions, which are always the same."""
    if len(rows) < 2:
        return 0
    directions = np.random.default_rng(0).standard_normal((rows.shape[1], 2))
    with np.errstate(all="ignore"):
        seen = (rows @ directions.astype(rows.dtype)) / np.sqrt(energy)[:, None]
    seen *= np.where(seen[:, :1] < 0, -1.0, 1.0)  # a filter and its negative count as alike
    near = np.diff(seen[np.argsort(seen[:, 0], kind="stable")], axis=0)
    return int((np.abs(near) < _ALIKE).all(axis=1).sum())


def count_saturated(weight: Tensor, bias: Tensor) -> int:
    """Count the units that are on or off whatever the image shows, since their bias outweighs what comes in.

    Parameters
    ----------
    weight : ndarray
        Scales of a normalisation, whose bias is added to a number of about 1; or weights of other layers.
    bias : ndarray
        As many numbers as there are units.
    """
    wide = np.abs(bias.astype(np.float64))
    with np.errstate(all="ignore"):
        if weight.ndim == 1:
            return int((wide > _SATURATED_SHIFT * np.abs(weight)).sum())
        axes = tuple(axis for axis in range(weight.ndim) if axis != (0 if weight.shape[0] == bias.size else 1))
        length = np.sqrt(np.sum(np.square(weight, dtype=np.float64), axis=axes))
        return int((wide > _SATURATED_BIAS * length).sum())
