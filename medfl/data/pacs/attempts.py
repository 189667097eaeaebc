"""When and how often a PACS is asked: within the hours that the site allows, and again after a failure that may pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from medfl.data.pacs.pacs_errors import TRANSIENT_CODES, PullStopped
from medfl.errors import DataError

BACKOFF_SECONDS = 1.0  # before the second attempt; doubled before each further one
T = TypeVar("T")


def is_allowed(hours: str, now: datetime | None = None) -> bool:
    """Return whether the PACS may be used now.

    Parameters
    ----------
    hours : str
        ``"19-06"``: from 19:00 to 06:00 local time; empty: always.
    now : datetime, optional
        Time to check instead of the present.

    Examples
    --------
    >>> [is_allowed("19-06", datetime(2024, 1, 1, hour)) for hour in (5, 6, 18, 19)]
    [True, False, False, True]
    """
    if not hours:
        return True
    begin, end = (int(part) for part in hours.split("-"))
    hour = (now or datetime.now()).hour
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def retry(action: Callable[[], T], retries: int, stop: threading.Event) -> T:
    """Retry an action that may fail for a while, and wait longer after each failure.

    Raises
    ------
    DataError
        That of the last attempt, or one that no further attempt mends.
    PullStopped
        When `stop` is set while it waits.
    """
    for attempt in range(retries):
        try:
            return action()
        except DataError as error:
            if error.code not in TRANSIENT_CODES:
                raise
        if stop.wait(BACKOFF_SECONDS * 2**attempt):
            raise PullStopped
    return action()
