"""Counts that leave a site: exact, or only "fewer than k, but not zero" where its policy suppresses small counts.

A suppressed count is the number -k wherever a count is stored (a metric, the history of a run), and ``<k`` in text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_MOST_CODES = 1000  # in one text, which comes from the other side; a longer one is none
_TEXT = re.compile(r"([A-Z][A-Z0-9-]{0,40})=(<?)([0-9]{1,9})")


def suppress_count(count: int, k: int) -> int:
    """Return a count as it may leave a site.

    Parameters
    ----------
    count : int
        The exact count.
    k : int
        Smallest count that may leave as it is; 0 switches suppression off.

    Examples
    --------
    >>> suppress_count(0, 10), suppress_count(3, 10), suppress_count(10, 10), suppress_count(3, 0)
    (0, -10, 10, 3)
    """
    return -k if 0 < count < k else count


def format_count(count: int) -> str:
    """Return a count as text.

    Examples
    --------
    >>> format_count(12), format_count(-10)
    ('12', '<10')
    """
    return f"<{-count}" if count < 0 else str(count)


def lower_bound(counts: Iterable[int]) -> int:
    """Return the smallest sum that counts can have: a suppressed one is at least 1.

    Examples
    --------
    >>> lower_bound([12, -10, 0])
    13
    """
    return sum(1 if count < 0 else count for count in counts)


def format_sum(counts: Iterable[int]) -> str:
    """Return the sum of counts as text.

    Examples
    --------
    >>> format_sum([12, 3]), format_sum([12, -10]), format_sum([-10, 0])
    ('15', 'at least 13', '<10')
    """
    some = [count for count in counts if count]
    if len(some) == 1:
        return format_count(some[0])
    return f"at least {lower_bound(some)}" if any(count < 0 for count in some) else str(sum(some))


def to_text(counts: Mapping[str, int]) -> str:
    """Return counts by code as one string, for a ConfigRecord.

    Examples
    --------
    >>> to_text({"LBL-EMPTY": 12, "DCM-SPACING": -10})
    'DCM-SPACING=<10,LBL-EMPTY=12'
    """
    return ",".join(f"{code}={format_count(counts[code])}" for code in sorted(counts))


def from_text(text: str) -> dict[str, int]:
    """Read counts by code as `to_text` wrote them.

    Raises
    ------
    ValueError
        When the text is not in this form.
    """
    found = [_TEXT.fullmatch(pair) for pair in text.split(",", _MOST_CODES) if pair]
    if not all(found):
        raise ValueError("not counts by code")
    return {match[1]: -int(match[3]) if match[2] else int(match[3]) for match in found if match}
