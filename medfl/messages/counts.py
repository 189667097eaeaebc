"""Counts that a site tells: exact, or only that there are some but fewer than its policy lets it tell.

"Fewer than k, and not none" is the number -k wherever a count is kept (a metric, the history of a run), and ``<k`` in text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_TEXT = re.compile(r"([A-Z][A-Z0-9-]{0,40})=(<?)([0-9]{1,9})")


def suppress_count(count: int, k: int) -> int:
    """Return what a site tells of a count.

    Parameters
    ----------
    count : int
        The exact count.
    k : int
        Smallest count that may be told; 0 switches the rule off.

    Examples
    --------
    >>> told(0, 10), told(3, 10), told(10, 10), told(3, 0)
    (0, -10, 10, 3)
    """
    return -k if 0 < count < k else count


def format_count(count: int) -> str:
    """Write a told count.

    Examples
    --------
    >>> in_words(12), in_words(-10)
    ('12', '<10')
    """
    return f"<{-count}" if count < 0 else str(count)


def lower_bound(counts: Iterable[int]) -> int:
    """Return the smallest sum that told counts can have: of each "fewer than k, and not none", one is sure.

    Examples
    --------
    >>> at_least([12, -10, 0])
    13
    """
    return sum(1 if count < 0 else count for count in counts)


def format_sum(counts: Iterable[int]) -> str:
    """Write the sum of told counts.

    Examples
    --------
    >>> sum_in_words([12, 3]), sum_in_words([12, -10]), sum_in_words([-10, 0])
    ('15', 'at least 13', '<10')
    """
    some = [count for count in counts if count]
    if len(some) == 1:
        return format_count(some[0])
    return f"at least {lower_bound(some)}" if any(count < 0 for count in some) else str(sum(some))


def to_text(counts: Mapping[str, int]) -> str:
    """Write counts by code as one string, for a ConfigRecord.

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
        When the text is something else.
    """
    found = [_TEXT.fullmatch(pair) for pair in text.split(",") if pair]
    if not all(found):
        raise ValueError("no counts by code")
    return {match[1]: -int(match[3]) if match[2] else int(match[3]) for match in found if match}
