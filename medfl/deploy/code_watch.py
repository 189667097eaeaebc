"""What the terminal of a running site shows of its worker's log: the codes of what went wrong, and where to read of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from medfl.errors import safe_sentence

_AGAIN = 60.0  # seconds until the same code is told again
_CODED = re.compile(rb"^\d{4}-\S+ \S+ \[([A-Z][A-Z0-9-]*)\]", re.MULTILINE)  # a line of the log; those of a text have no time
_MOST_BYTES = 1 << 20  # that are read at once, the newest


class CodeWatch:
    """Tells a person which codes came up in a log, each at most once a minute, and nothing else of it.

    Parameters
    ----------
    log : Path
        The log; what it holds already is not told.
    notify : callable
        Gets a line for a person.
    """

    def __init__(self, log: Path, notify: Callable[[str], None]) -> None:
        self._log, self._notify = log, notify
        self._told: dict[str, float] = {}
        self._position = self._size()

    def look(self) -> None:
        """Tell the codes that came up since the last look; never raise."""
        size, start = self._size(), self._position
        self._position = size
        if size < start:  # it was rotated
            start = 0
        try:
            with self._log.open("rb") as log:
                log.seek(max(start, size - _MOST_BYTES))
                found = _CODED.findall(log.read(size - log.tell()))
        except (OSError, ValueError):
            return
        for code in dict.fromkeys(code.decode() for code in found):
            now = time.monotonic()
            if code not in self._told or now - self._told[code] >= _AGAIN:
                self._told[code] = now
                self._notify(f"{safe_sentence(code)} Log: {self._log}")

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0
