"""From the values that a mask file holds to the classes of the study, slice by slice, so that no second copy is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

_INTEGER_TOLERANCE = 1e-6  # how far a value may be from a whole number
_MAX_COMPARED = 16  # values that are counted by comparing
_MAX_TABLE = 1 << 20  # values that lie closer together than this are counted in a table
_MAX_LISTED = 5  # values that an error lists at most


def iter_slices(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield views of an array along its last axis, or the array itself if it has two axes: small pieces of a large volume."""
    if array.ndim < 3:
        yield array
        return
    for k in range(array.shape[-1]):
        yield array[..., k]


def format_values(values: Collection[float], invalid: Collection[float]) -> str:
    """Return some of the values of a mask as text, in order: those that are wrong, and the others as far as there is room.

    Examples
    --------
    >>> listed([0, 0.37, 1], [0.37])
    '0, 0.37, 1'
    >>> listed(range(9), [7, 8])
    '0, 1, 2, 7, 8 and 4 others'
    """
    shown = [*sorted(invalid), *sorted(set(values) - set(invalid))][:_MAX_LISTED]
    more = len(values) - len(shown)
    return ", ".join(f"{value:.6g}" for value in sorted(shown)) + (f" and {more} others" if more else "")


def count_values(values: NDArray[Any], meaning: str) -> dict[int, int]:
    """Return which values a mask holds, and in how many voxels.

    Parameters
    ----------
    values : ndarray
        (X, Y[, Z]), of any type of numbers.
    meaning : str
        What the study says of values (`medfl.data.classes.meaning`), for the error.

    Raises
    ------
    DataError
        ``LBL-VALUES`` for a value that is no whole number.
    """
    counts: Counter[int] = Counter()
    for layer in iter_slices(values):
        if values.dtype == np.uint8 and layer.max(initial=0) < _MAX_COMPARED:  # ten times as fast, and what most masks are
            counts.update({value: int(np.count_nonzero(layer == value)) for value in range(int(layer.max(initial=0)) + 1)})
            continue
        whole = _to_integers(layer, meaning)
        lowest = int(whole.min(initial=0))
        if int(whole.max(initial=0)) - lowest < _MAX_TABLE:
            table = np.bincount((whole - lowest).ravel())
            counts.update({int(place) + lowest: int(table[place]) for place in np.flatnonzero(table)})
        else:
            found, number = np.unique(whole, return_counts=True)
            counts.update(dict(zip(found.tolist(), number.tolist(), strict=True)))
    return {value: count for value, count in sorted(counts.items()) if count}


def _to_integers(layer: NDArray[Any], meaning: str = "") -> NDArray[np.int64]:
    if layer.dtype.kind not in "iub":
        if not np.isfinite(layer).all():
            raise DataError("LBL-VALUES", "the label holds values that are not numbers.", "Export the label again.")
        if np.abs(layer - np.round(layer)).max(initial=0) > _INTEGER_TOLERANCE:
            found = np.unique(layer)
            invalid = found[np.abs(found - np.round(found)) > _INTEGER_TOLERANCE]
            what = (
                f"the label holds values {format_values(found.tolist(), invalid.tolist())}, but the study declares {meaning}."
            )
            fix = "Values that are no whole numbers come from resampling with interpolation; export it with nearest neighbour."
            raise DataError("LBL-VALUES", what, fix)
        layer = np.round(layer)
    return layer.astype(np.int64)


def map_values(values: NDArray[Any], classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Return a mask with classes instead of values.

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
    for layer, target in zip(iter_slices(values), iter_slices(mask), strict=True):
        if same:
            target[...] = np.round(layer) if layer.dtype.kind == "f" else layer
            continue
        whole = _to_integers(layer)
        target[...] = 0
        for value, index in classes.items():
            if index:
                target[whole == value] = index
    return mask
