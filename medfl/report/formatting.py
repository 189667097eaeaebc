"""Scores, times and reasons as a reader of a report likes them."""

from __future__ import annotations

import math
import re
from datetime import datetime

from medfl.errors import explain_code, load_codes, safe_sentence
from medfl.study import Study
from medfl.system.text import NOT_AVAILABLE

_CODE = re.compile(r"\[([A-Z][A-Z0-9-]+)\]")

STATUS_TITLES = {
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


def format_score(value: float, digits: int = 3) -> str:
    """Return a score, "n/a" for nan."""
    return NOT_AVAILABLE if math.isnan(value) else f"{value:.{digits}f}"


def format_error(error: float, digits: int = 3) -> str:
    """Return the largest error of a score, rounded up; empty where it does not reach the last digit that is shown.

    Examples
    --------
    >>> format_error(0.0213), format_error(0.0213, 2), format_error(0.0001), format_error(math.nan)
    ('±0.022', '±0.03', '', '')
    """
    if math.isnan(error) or error < 0.5 * 10**-digits:
        return ""
    return f"±{math.ceil(round(error * 10**digits, 6)) / 10**digits:.{digits}f}"


def format_difference(value: float, digits: int = 2) -> str:
    """Return a difference with its sign, and a true minus; "n/a" for nan.

    Examples
    --------
    >>> format_difference(0.123), format_difference(-0.123), format_difference(-0.001)
    ('+0.12', '−0.12', '±0.00')
    """
    if math.isnan(value):
        return NOT_AVAILABLE
    sign = "±" if round(value, digits) == 0 else "+" if value > 0 else "−"
    return f"{sign}{abs(value):.{digits}f}"


def format_percent(share: float) -> str:
    """Return a share in per cent.

    Examples
    --------
    >>> format_percent(0.714), format_percent(0.004)
    ('71 %', '0 %')
    """
    return f"{100 * share:.0f} %"


def format_time(iso: str) -> str:
    """Return an ISO time with the day and the minute, in UTC."""
    try:
        return f"{datetime.fromisoformat(iso):%-d %B %Y, %H:%M} UTC"
    except ValueError:
        return "unknown"


def length_unit(study: Study) -> str:
    """Return the unit of distances: 2-D images state no millimetres, so theirs are pixels of the prepared image."""
    return "mm" if study.task.dimension == 3 else "px"
