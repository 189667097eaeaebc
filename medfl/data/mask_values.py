"""From the values that a mask file holds to the classes of the study, slice by slice, so that no second copy is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

_INTEGER_TOLERANCE = 1e-6  # how far a value may be from a whole number, and as a share of it: rounding of float32
_MAX_VALUE = 2**31 - 1  # of the size of a value: more are no numbers of classes, and float32 does not tell them apart
_MAX_QUANTISATION = 0.05  # how far a value may be from a whole number because of the step of the file's scale
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
    >>> format_values([0, 0.37, 1], [0.37])
    '0, 0.37, 1'
    >>> format_values(range(9), [7, 8])
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
        invalid = np.abs(layer - np.round(layer)) > _INTEGER_TOLERANCE * np.maximum(1, np.abs(layer))
        if invalid.any():
            listed = format_values(np.unique(layer).tolist(), np.unique(layer[invalid]).tolist())
            what = f"the label holds values {listed}, but the study declares {meaning}."
            fix = "Values that are no whole numbers come from resampling with interpolation; export it with nearest neighbour."
            raise DataError("LBL-VALUES", what, fix)
        layer = np.round(layer)
    if layer.size and layer.dtype.itemsize > 4 - (layer.dtype.kind == "f"):  # smaller integers fit
        _refuse_large(float(layer.min()), float(layer.max()))
    return layer.astype(np.int64)


def _refuse_large(lowest: float, highest: float) -> None:
    if max(-lowest, highest) > _MAX_VALUE:
        what = f"the label holds values from {lowest:.6g} to {highest:.6g}, which are too large for numbers of classes."
        raise DataError("LBL-VALUES", what, "Was an image taken for a label, or a label damaged? Export the label again.")


def unscale(stored: NDArray[Any], slope: float, inter: float) -> NDArray[np.int32]:
    """Return the whole numbers that a file stores as other whole numbers and a scale.

    Programs that store a mask of floating-point numbers as integers spread its values over all of them: classes 0, 1 and 2 come
    back as 0, 1.00002 and 2. A value belongs to the whole number that is within half a step of the scale.

    Parameters
    ----------
    stored : ndarray of int
        Numbers in the file, (X, Y[, Z]).
    slope, inter : float
        The values are ``stored * slope + inter``.

    Raises
    ------
    DataError
        ``LBL-VALUES`` when a value is none.

    Examples
    --------
    >>> unscale(np.array([[-32768, 0, 32767]], dtype=np.int16), 2 / 65535, 1.0000153).tolist()
    [[0, 1, 2]]
    """
    step = min(abs(slope) / 2, _MAX_QUANTISATION) * 1.001
    result = np.empty(stored.shape, dtype=np.int32, order="F")
    for layer, target in zip(iter_slices(stored), iter_slices(result), strict=True):
        values = layer * float(slope) + float(inter)
        whole = np.round(values)
        invalid = np.abs(values - whole) > step + _INTEGER_TOLERANCE * np.maximum(1, np.abs(values))
        if invalid.any():
            listed = format_values(np.unique(values).tolist(), np.unique(values[invalid]).tolist())
            what = f"the label holds values {listed}: the file scales what it stores by {slope:.6g}, to no numbers of classes."
            fix = "Write it as whole numbers without a scale (scl_slope = 1, scl_inter = 0), and do not interpolate it."
            raise DataError("LBL-VALUES", what, fix)
        if whole.size:
            _refuse_large(float(whole.min()), float(whole.max()))
        target[...] = whole
    return result


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
