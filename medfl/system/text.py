"""Text for people: sizes, durations, counts with their nouns."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOT_AVAILABLE = "n/a"


def format_bytes(count: float) -> str:
    """Return a number of bytes, "n/a" for nan.

    Examples
    --------
    >>> format_bytes(812), format_bytes(19_250_000), format_bytes(38_200_000_000)
    ('812 B', '19.2 MB', '38.2 GB')
    """
    if math.isnan(count):
        return NOT_AVAILABLE
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def format_duration(seconds: float) -> str:
    """Return a duration, "n/a" for nan.

    Examples
    --------
    >>> format_duration(4.26), format_duration(12), format_duration(125), format_duration(7500)
    ('4.3 s', '12 s', '2 min 5 s', '2 h 5 min')
    """
    if math.isnan(seconds):
        return NOT_AVAILABLE
    if seconds < 60:
        return f"{f'{seconds:.1f}'.removesuffix('.0')} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(count: int, one: str, several: str = "") -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "case"), plural(12_000, "case"), plural(3, "study", "studies")
    ('1 case', '12 000 cases', '3 studies')
    """
    return f"{format_count(count)} {one if count == 1 else several or one + 's'}"


def format_count(count: int) -> str:
    """Return a whole number with blanks between thousands.

    Examples
    --------
    >>> format_count(812), format_count(12_000)
    ('812', '12 000')
    """
    return f"{count:,}".replace(",", " ")


def join_words(words: Sequence[str], last: str = "and") -> str:
    """Join words as "a, b and c"; `last` stands before the last of them."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def join_names(names: Sequence[str], most: int | None = 10, separator: str = ", ") -> str:
    """Join names of hospitals, or what begins with them; of more than a few, some and how many there are besides.

    Examples
    --------
    >>> join_names(["a", "b", "c"], 2), join_names(["a", "b", "c"], 3)
    ('a, b and 1 more', 'a, b, c')
    """
    shown = names[:most]
    return separator.join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
