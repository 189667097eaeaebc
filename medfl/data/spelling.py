"""Spellings in data: what is one column, one id, one blank or one name of a list, whatever program wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from medfl.system.spelling import fold_name, has_invisible, parse_whole_number, strip_cell

__all__ = [
    "find_name",
    "fold_column",
    "fold_id",
    "fold_name",
    "has_invisible",
    "is_blank",
    "parse_whole_number",
    "strip_cell",
]

_BLANK_TEXTS = {"", "nan", "na", "n/a", "#n/a", "#na", "<na>", "nat", "none", "null", "-", "?", "."}
_LOOSE_SIGN = re.compile(r"(?<![0-9])[\s_\-]+|[\s_\-]+(?![0-9])")  # not between two numbers, which would become one
_PADDED_NUMBER = re.compile(r"(?<![0-9])0+(?=[0-9])")


def fold_column(name: str) -> str:
    """Return the name of a column without case, blanks, underscores, hyphens and dots.

    Examples
    --------
    >>> fold_column("Series UID") == fold_column("series_uid")
    True
    """
    return re.sub(r"[\s_.\-]+", "", fold_name(name))


def fold_id(text: str) -> str:
    """Return an id without what spreadsheets and people change in it: case, blanks, leading zeros, and ``.0`` at the end.

    Equal results are a suggestion only: ``007`` and ``7`` may well be two patients.

    Examples
    --------
    >>> fold_id("P 007"), fold_id("7.0"), fold_id("P1-1") == fold_id("P11")
    ('p7', '7', False)
    """
    folded = fold_name(text).lstrip("'")  # with which Excel marks a text
    number = parse_whole_number(folded)
    return str(number) if number is not None else _PADDED_NUMBER.sub("", _LOOSE_SIGN.sub("", folded))


def is_blank(text: str) -> bool:
    """Return whether a cell says that there is nothing in it, as programs write it: ``nan``, ``n/a``, ``None``."""
    return fold_name(text) in _BLANK_TEXTS


def find_name(text: str, names: Iterable[str]) -> int | None:
    """Return the position of the one name that a text spells, None where there is none, or several.

    A text that is a number fits a name that is the same number: ``1.0`` fits ``1``.

    Examples
    --------
    >>> find_name("Benign", ["benign", "malignant"]), find_name("1.0", ["0", "1"]), find_name("1", ["benign", "malignant"])
    (0, 1, None)
    """
    listed = list(names)
    number = parse_whole_number(text)
    for same in (
        [k for k, name in enumerate(listed) if fold_name(name) == fold_name(text)],
        [k for k, name in enumerate(listed) if number is not None and parse_whole_number(name) == number],
    ):
        if same:
            return same[0] if len(same) == 1 else None
    return None
