"""Plain words for numbers, times and reasons."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime

from medfl.errors import explain_code, load_codes, safe_sentence
from medfl.study import Study

NOT_AVAILABLE = "n/a"
_CODE = re.compile(r"\[([A-Z][A-Z0-9-]+)\]")

STATUS = {
    "completed": "Completed",
    "failed": "Failed",
    "stopped": "Stopped early",
    "unfinished": "Not finished",
}


def format_reason(reason: str) -> tuple[str, str]:
    """Split a reason into its code, empty if it has none, and a plain sentence.

    Examples
    --------
    >>> format_reason("[SITE-ERROR] The details are in the log of the site.")
    ('SITE-ERROR', 'Something failed at the site; only its own log says what.')
    """
    found = _CODE.match(reason.strip())
    if not found:
        return "", reason or "No reason was given."
    code, text = found[1], reason.strip()[found.end() :].strip()
    entry = load_codes().get(code)
    only_code = not text or f"[{code}] {text}" == safe_sentence(code) or (entry and entry.leaves == "code")
    return code, explain_code(code) if only_code else text


def score(value: float, digits: int = 3) -> str:
    """Write a score, "n/a" for nan."""
    return NOT_AVAILABLE if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """Write a difference with its sign, and a true minus.

    Examples
    --------
    >>> signed(0.123), signed(-0.123), signed(-0.001)
    ('+0.12', '−0.12', '±0.00')
    """
    if math.isnan(value):
        return NOT_AVAILABLE
    sign = "±" if round(value, digits) == 0 else "+" if value > 0 else "−"
    return f"{sign}{abs(value):.{digits}f}"


def size(count: float) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> size(19_250_000), size(812)
    ('19.2 MB', '812 B')
    """
    if math.isnan(count):
        return NOT_AVAILABLE
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Write a duration.

    Examples
    --------
    >>> duration(4.26), duration(125), duration(7500)
    ('4.3 s', '2 min 5 s', '2 h 5 min')
    """
    if math.isnan(seconds):
        return NOT_AVAILABLE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(iso: str) -> str:
    """Write an ISO time as a reader likes it, in UTC."""
    try:
        return f"{datetime.fromisoformat(iso):%-d %B %Y, %H:%M} UTC"
    except ValueError:
        return "unknown"


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", " ")


def listing(words: Sequence[str]) -> str:
    """Join words as "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def length_unit(study: Study) -> str:
    """Return the unit of distances: images of a 2-D study tell no millimetres, so theirs are pixels of the prepared image."""
    return "mm" if study.task.dimension == 3 else "px"
