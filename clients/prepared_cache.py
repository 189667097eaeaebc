"""Prepared data of the sites that a process visits again and again, within a number of cases that fits its memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from medfl.data.store.prepared_data import PreparedData


class PreparedCache:
    """Cache that keeps what was used last.

    It counts cases, not sites: a thousand small hospitals take no more memory than one large one.

    Parameters
    ----------
    max_cases : int
        Cases that are kept of all sites together; the site that was used last is kept whatever its size.
    """

    def __init__(self, max_cases: int) -> None:
        self._max_cases, self._count = max_cases, 0
        self._kept: OrderedDict[Hashable, PreparedData] = OrderedDict()

    def get(self, key: Hashable, prepare: Callable[[], PreparedData]) -> PreparedData:
        """Return what is kept under a key, or else what a function returns, and keep that."""
        if key not in self._kept:
            self._kept[key] = prepared = prepare()
            self._count += len(prepared.cases)
        self._kept.move_to_end(key)
        while self._count > self._max_cases and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._count -= len(dropped.cases)
        return self._kept[key]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._count = 0
