"""Changes of a study as Python has them, turned into what a study can hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medfl.errors import ConfigError, Problem
from medfl.study import flatten
from medfl.study.study_file import Scalar

_FILE = "changes"  # what a problem names instead of a file
_RULE = "Give a bool, a number, a text, a path, or a list or tuple of these."


def to_scalars(changes: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return changes by dotted key, each value as a study writes it.

    Parameters
    ----------
    changes : mapping
        Dotted keys with values, or tables of them. Numbers of NumPy and paths will do; of a list, which a study writes with
        commas, no item may have one.

    Raises
    ------
    ConfigError
        With every key whose value no study can hold.

    Examples
    --------
    >>> to_scalars({"rounds": np.int64(2), "training": {"patch": (32, 32)}})
    {'rounds': 2, 'training.patch': '32,32'}
    """
    flat: dict[str, Scalar] = {}
    problems: list[Problem] = []
    for key, value in flatten(changes).items():
        try:
            flat[_check_key(key)] = _to_scalar(value)
        except ValueError as error:
            problems.append(Problem(_FILE, str(key), str(error), _RULE))
    if problems:
        raise ConfigError(problems)
    return flat


def _check_key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"a key is a text, and this one is of the type {type(key).__name__}.")
    return key


def _to_scalar(value: object) -> Scalar:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return ",".join(map(_to_item, value))
    return _to_single(value)


def _to_item(value: object) -> str:
    item = str(_to_single(value))
    if "," in item:
        raise ValueError(f"the item {item!r} has a comma, which stands between the items of a list.")
    return item


def _to_single(value: object) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"a study holds no value of the type {type(value).__name__}.")
    return value
