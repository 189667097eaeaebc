"""Spellings: what is one name or one number, whatever program wrote it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_WHOLE_NUMBER = re.compile(r"[0-9]+(?:[.,]0*)?")  # a spreadsheet writes 1 as 1.0, or as 1,0
_INVISIBLE = "\0\x1a\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"  # old ends of texts; marks of byte order and direction


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


def parse_whole_number(text: str) -> int | None:
    """Return the whole number that a text writes, also as ``1.0``; None for anything else.

    Examples
    --------
    >>> parse_whole_number("1.0"), parse_whole_number("1.5")
    (1, None)
    """
    stripped = strip_cell(text)
    return int(re.split("[.,]", stripped)[0]) if _WHOLE_NUMBER.fullmatch(stripped) and len(stripped) <= 18 else None


def are_distinct(names: Iterable[str]) -> bool:
    """Return whether no two names are one: by case, blanks, or as numbers.

    Examples
    --------
    >>> are_distinct(["1", "2"]), are_distinct(["1", "1.0"]), are_distinct(["Grade  1", "grade 1"])
    (True, False, False)
    """
    listed = list(names)
    return len({fold_name(name) if (number := parse_whole_number(name)) is None else number for name in listed}) == len(listed)
