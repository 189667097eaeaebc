"""Names of classes: which of them are one name for whoever reads data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WHOLE_NUMBER = re.compile(r"0*([0-9]+)(?:[.,]0*)?")


def are_distinct(names: Sequence[str]) -> bool:
    """Return whether no two names are one, as `medfl.data.spelling.find_name` takes them: by case, blanks, or as numbers.

    Examples
    --------
    >>> are_distinct(["1", "2"]), are_distinct(["1", "1.0"]), are_distinct(["Grade  1", "grade 1"])
    (True, False, False)
    """
    return len(set(map(_fold, names))) == len(names)


def is_number(name: str) -> bool:
    """Return whether a name is a whole number, also as ``1.0``."""
    return _WHOLE_NUMBER.fullmatch(name.strip()) is not None


def _fold(name: str) -> str:
    folded = " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())
    number = _WHOLE_NUMBER.fullmatch(folded)
    return number[1] if number else folded
