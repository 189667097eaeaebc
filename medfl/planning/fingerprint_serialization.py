"""Serialization of fingerprints: as a Flower message, and as a file that a person can read before it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.planning import bins
from medfl.planning.fingerprint import Fingerprint, Scope

FORMAT = "medfl fingerprint 1"
_MAX_CASES = 10**6  # keeps every sum far below 64 bits
_MAX_HU = 2**14  # no mean of CT values is larger
_MAX_CHANNELS = 64
_AXES = "xyz"


def to_content(site: str, fingerprint: Fingerprint, extra: Mapping[str, str] | None = None) -> RecordDict:
    """Return the content of a reply: the arrays, their scope, and the name of the site.

    Parameters
    ----------
    site : str
        Name of the site.
    fingerprint : Fingerprint
        What may leave, from `Fingerprint.suppress`.
    extra : mapping of str to str, optional
        Further short strings about the site.
    """
    return RecordDict(
        {
            records.ARRAYS: records.to_array_record(fingerprint.arrays()),
            records.CONFIG: ConfigRecord({"format": FORMAT, **_scope_to_dict(fingerprint.scope)}),
            records.SITE: ConfigRecord({"name": site, **(extra or {})}),
        }
    )


def from_content(content: RecordDict) -> Fingerprint:
    """Read the fingerprint of a reply; nothing in it is trusted.

    Raises
    ------
    ExchangeError
        ``FINGERPRINT-UNREADABLE``.
    """
    arrays, config = content.get(records.ARRAYS), content.get(records.CONFIG)
    if not isinstance(arrays, ArrayRecord) or not isinstance(config, ConfigRecord):
        raise _unreadable_error()
    return _validate(_scope_from_dict(config), records.array_views(arrays))


def to_json(fingerprint: Fingerprint) -> str:
    """Return a fingerprint as JSON: every number that leaves, and how to read it.

    Bins without a case are left out; the others are written as ``"number of the bin": count``.
    """
    arrays = fingerprint.arrays()
    rows = {name: array.tolist() if array.ndim < 2 else [_to_sparse(row) for row in array] for name, array in arrays.items()}
    for name in ("spacing", "extent", "size"):
        rows[name] = dict(zip(_AXES, rows[name], strict=False))
    explained = {
        "spacing": f"mm; bin n reaches from {bins.SPACING.lowest} * {bins.SPACING.ratio}^n to the next",
        "extent": f"mm; bin n reaches from {bins.EXTENT.lowest} * {bins.EXTENT.ratio}^n to the next",
        "size": f"voxels; bin n reaches from {bins.SIZE.lowest} * {bins.SIZE.ratio}^n to the next",
        "present": "cases with each foreground class; 0 where 'hidden' is not",
        "fractions": f"sum of the shares of their voxels, times {bins.FRACTION_SCALE}",
        "intensities": f"marked voxels; bin n is {bins.HU_MIN} HU + n; each case weighs {bins.FRACTION_SCALE}",
        "means": f"sum of the cases' means of marked voxels in HU, times {bins.MOMENT_SCALE}; 'squares' of their mean squares",
    }
    document = {"format": FORMAT, **_scope_to_dict(fingerprint.scope), "how-to-read": explained, **rows}
    return json.dumps(document, indent=1)


def from_json(text: str) -> Fingerprint:
    """Read what `to_json` wrote.

    Raises
    ------
    ExchangeError
        ``FINGERPRINT-UNREADABLE``.
    """
    try:
        document = json.loads(text)
        scope = _scope_from_dict(document)
        arrays = {name: _to_dense(document[name], shape) for name, shape in scope.shapes.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        raise _unreadable_error() from None
    return _validate(scope, arrays)


def _scope_to_dict(scope: Scope) -> dict[str, int | str]:
    return {
        "dimension": scope.dimension,
        "modality": scope.modality,
        "classes": ",".join(scope.classes),
        "channels": scope.channels,
        "crop": scope.crop,
    }


def _scope_from_dict(values: Mapping[str, Any]) -> Scope:
    dimension, channels = values.get("dimension", 0), values.get("channels", 0)
    words = [values.get(key) for key in ("modality", "classes", "crop")]
    usable = all(isinstance(word, str) for word in words) and type(dimension) is int and type(channels) is int
    if values.get("format") != FORMAT or not usable or dimension not in (2, 3) or not 1 <= channels <= _MAX_CHANNELS:
        raise _unreadable_error()
    return Scope(dimension, str(words[0]), tuple(str(words[1]).split(",")), channels, str(words[2]))


def _to_sparse(row: NDArray[np.int64]) -> dict[str, int]:
    return {str(index): int(row[index]) for index in np.flatnonzero(row)}


def _to_dense(values: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    if len(shape) < 2:
        if not all(type(value) is int for value in (values if shape else [values])):
            raise _unreadable_error()
        return np.array(values, np.int64)
    rows = [values[axis] for axis in _AXES[: shape[0]]] if isinstance(values, dict) else values
    dense = np.zeros((len(rows), shape[1]), np.int64)
    for row, sparse in zip(dense, rows, strict=True):
        for index, count in sparse.items():
            if type(count) is not int or not 0 <= int(index) < shape[1]:
                raise _unreadable_error()
            row[int(index)] = count
    return dense


def _validate(scope: Scope, arrays: Mapping[str, NDArray[Any]]) -> Fingerprint:
    """Return the fingerprint, unless its arrays are impossible: a wrong one would spoil the plan of all hospitals."""
    if set(arrays) != set(scope.shapes):
        raise _unreadable_error()
    if any(arrays[name].shape != shape or arrays[name].dtype != np.int64 for name, shape in scope.shapes.items()):
        raise _unreadable_error()
    fingerprint = Fingerprint.from_arrays(scope, dict(arrays))
    if not (_are_counts_valid(fingerprint) and _are_intensities_valid(fingerprint)):
        raise _unreadable_error()
    return fingerprint


def _are_counts_valid(fingerprint: Fingerprint) -> bool:
    n = fingerprint.cases
    if not (1 <= n <= _MAX_CASES and 0 <= fingerprint.cropped <= n and 0 <= fingerprint.marked <= n):
        return False
    if any(array.min(initial=0) < 0 for name, array in fingerprint.arrays().items() if name != "means"):
        return False
    if any(
        array.max(initial=0) > n
        for array in (fingerprint.spacing, fingerprint.extent, fingerprint.size, fingerprint.present, fingerprint.hidden)
    ):
        return False
    one_per_case = all((counts.sum(1) == n).all() for counts in (fingerprint.spacing, fingerprint.extent, fingerprint.size))
    return bool(one_per_case and (fingerprint.fractions <= fingerprint.present * bins.FRACTION_SCALE).all())


def _are_intensities_valid(fingerprint: Fingerprint) -> bool:
    # in Python's integers, which do not overflow: the numbers may be anything
    whole = fingerprint.marked * bins.FRACTION_SCALE
    rounding = fingerprint.cases * bins.HU_BINS  # a bin of a case is off by half a unit at most
    weights = [sum(map(int, channel)) for channel in fingerprint.intensities]
    return (
        all(abs(weight - whole) <= rounding for weight in weights)
        and all(abs(int(mean)) <= fingerprint.marked * bins.MOMENT_SCALE * _MAX_HU for mean in fingerprint.means)
        and all(int(square) <= fingerprint.marked * bins.MOMENT_SCALE * _MAX_HU**2 for square in fingerprint.squares)
    )


def _unreadable_error() -> ExchangeError:
    return ExchangeError(
        "FINGERPRINT-UNREADABLE", "this is not a fingerprint, or a damaged one.", "Ask the site to make it again."
    )
