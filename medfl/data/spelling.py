"""Spellings: what is one name, one number or one blank, whatever program wrote it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_WHOLE_NUMBER = re.compile(r"[0-9]+(?:[.,]0*)?")  # a spreadsheet writes 1 as 1.0, or as 1,0
_BLANK_TEXTS = {"", "nan", "na", "n/a", "#n/a", "#na", "<na>", "nat", "none", "null", "-", "?", "."}
_INVISIBLE = "\0\x1a\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"  # old ends of texts; marks of byte order and direction
_LOOSE_SIGN = re.compile(r"(?<![0-9])[\s_\-]+|[\s_\-]+(?![0-9])")  # not between two numbers, which would become one
_PADDED_NUMBER = re.compile(r"(?<![0-9])0+(?=[0-9])")


def strip_cell(text: str) -> str:
    """Return a text without what cannot be seen around it.

    Examples
    --------
    >>> strip_cell(" \\u200b7 ")
    '7'
    """
    stripped = text.strip()
    while stripped and (stripped[0] in _INVISIBLE or stripped[-1] in _INVISIBLE):
        stripped = stripped.strip(_INVISIBLE).strip()
    return stripped


def has_invisible(text: str) -> bool:
    """Return whether a text holds signs that cannot be seen and are no blanks."""
    return any(sign in text for sign in _INVISIBLE)


def fold_name(text: str) -> str:
    """Return a name so that two which look alike are equal: case, runs of blanks and forms of Unicode do not count.

    Examples
    --------
    >>> fold_name(" Grade  1") == fold_name("grade 1")
    True
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(strip_cell(folded).split())


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


def parse_whole_number(text: str) -> int | None:
    """Return the whole number that a text writes, also as ``1.0``; None for anything else.

    Examples
    --------
    >>> parse_whole_number("1.0"), parse_whole_number("1.5")
    (1, None)
    """
    stripped = strip_cell(text)
    return int(re.split("[.,]", stripped)[0]) if _WHOLE_NUMBER.fullmatch(stripped) and len(stripped) <= 18 else None


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
