"""From the values that a mask file holds to the classes of the study, slice by slice, so that no second copy is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

_WHOLE = 1e-6  # how far a value may be from a whole number
_FEW = 16  # values that are counted by comparing
_DENSE = 1 << 20  # values that lie closer together than this are counted in a table


def layers(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield views of an array along its last axis, or the array itself if it has two axes: small pieces of a large volume."""
    if array.ndim < 3:
        yield array
        return
    for k in range(array.shape[-1]):
        yield array[..., k]


def value_counts(values: NDArray[Any]) -> dict[int, int]:
    """Return which values a mask holds, and in how many voxels.

    Parameters
    ----------
    values : ndarray
        (X, Y[, Z]), of any type of numbers.

    Raises
    ------
    DataError
        ``LBL-VALUES`` for a value that is no whole number.
    """
    counts: Counter[int] = Counter()
    for layer in layers(values):
        if values.dtype == np.uint8 and layer.max(initial=0) < _FEW:  # ten times as fast, and what most masks are
            counts.update({value: int(np.count_nonzero(layer == value)) for value in range(int(layer.max(initial=0)) + 1)})
            continue
        whole = _whole(layer)
        lowest = int(whole.min(initial=0))
        if int(whole.max(initial=0)) - lowest < _DENSE:
            table = np.bincount((whole - lowest).ravel())
            counts.update({int(place) + lowest: int(table[place]) for place in np.flatnonzero(table)})
        else:
            found, number = np.unique(whole, return_counts=True)
            counts.update(dict(zip(found.tolist(), number.tolist(), strict=True)))
    return {value: count for value, count in sorted(counts.items()) if count}


def _whole(layer: NDArray[Any]) -> NDArray[np.int64]:
    if layer.dtype.kind not in "iub":
        if not np.isfinite(layer).all():
            raise DataError("LBL-VALUES", "the label holds values that are not numbers.", "Export the label again.")
        if np.abs(layer - np.round(layer)).max(initial=0) > _WHOLE:
            what = "the label holds values that are no whole numbers, so it was resampled with interpolation."
            raise DataError("LBL-VALUES", what, "Export it with nearest neighbour.")
        layer = np.round(layer)
    return layer.astype(np.int64)


def to_classes(values: NDArray[Any], classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Return a mask with classes in place of values.

    Parameters
    ----------
    values : ndarray
        (X, Y[, Z]).
    classes : mapping of int to int
        Class of each value that occurs.

    Returns
    -------
    ndarray
        uint8; `values` themselves when there is nothing to change.
    """
    same = all(value == index for value, index in classes.items())
    if same and values.dtype == np.uint8:
        return values
    mask = np.empty_like(values, dtype=np.uint8)
    for layer, target in zip(layers(values), layers(mask), strict=True):
        if same:
            target[...] = np.round(layer) if layer.dtype.kind == "f" else layer
            continue
        whole = _whole(layer)
        target[...] = 0
        for value, index in classes.items():
            if index:
                target[whole == value] = index
    return mask
