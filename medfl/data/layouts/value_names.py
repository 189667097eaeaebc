"""Names of mask values, as JSON files say them: ``labels`` of a ``dataset.json``, ``LabelMap`` beside a mask of BIDS.

What is there and not understood is refused. Without names, values are positions of the study's classes; to fall back to that
would swap classes without a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from medfl.data.classes import IGNORE
from medfl.data.spelling import fold_name, parse_whole_number
from medfl.errors import DataError

ValueNames = tuple[tuple[int, str], ...]
_EXAMPLE = 'Write it as {"background": 0, "liver": 1}, or {"0": "background", "1": "liver"}.'


def parse_value_names(labels: Any, file: str) -> ValueNames:
    """Return what values mean by ``{"background": 0, "liver": 1}`` (nnU-Net), or ``{"0": "background"}`` (v1, Decathlon).

    Parameters
    ----------
    labels : object
        What the JSON file holds.
    file : str
        Name of the file, for messages.

    Raises
    ------
    DataError
        ``LBL-REGIONS`` for regions of several values, which overlap, or ``INDEX-FORMAT``.
    """
    if not isinstance(labels, dict) or not labels:
        raise DataError("INDEX-FORMAT", f"'labels' of {file} does not give a name for each value.", _EXAMPLE)
    regions = sum(isinstance(value, list) and len(value) > 1 for value in labels.values())
    if regions:
        what = (
            f"{regions} of the labels in {file} are regions of several values, which overlap; medfl gives each voxel one class."
        )
        raise DataError("LBL-REGIONS", what, "Name each value by itself in 'labels', and export the data set again.")
    keys = [parse_whole_number(str(key)) for key in labels]
    values = [_parse_value(value) for value in labels.values()]
    by_key, by_value = None not in keys, None not in values
    if by_key and by_value and keys != values:
        what = f"names and values in 'labels' of {file} are all numbers, so that nobody can tell which is which."
        raise DataError("INDEX-FORMAT", what, "Give the classes names.")
    named = by_key and all(isinstance(value, str) and value.strip() for value in labels.values())
    if by_value:
        pairs = zip(values, labels, strict=True)
    elif named:
        pairs = zip(keys, labels.values(), strict=True)
    else:
        raise DataError("INDEX-FORMAT", f"'labels' of {file} does not give a name for each value.", _EXAMPLE)
    return sort_pairs(((value, name) for value, name in pairs if value is not None), f"'labels' of {file}", "INDEX-FORMAT")


def _parse_value(value: Any) -> int | None:
    """Return the value that stands for a class: a whole number, also as text or in a list of its own."""
    if isinstance(value, list):
        return _parse_value(value[0]) if len(value) == 1 else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return parse_whole_number(str(value))


def sort_pairs(pairs: Iterable[tuple[int, str]], where: str, code: str) -> ValueNames:
    """Return values and their names in the order of the values.

    Raises
    ------
    DataError
        `code`, when one value has two names; `where` says in which file.
    """
    names: dict[int, str] = {}
    for value, name in pairs:
        if fold_name(names.setdefault(value, name)) != fold_name(name):
            raise DataError(code, f"{where} gives one value two names.", "Give each value one name.")
    return tuple((value, IGNORE if fold_name(name) == IGNORE else name.strip()) for value, name in sorted(names.items()))
