"""Sign of life of a process that talks to a server: when the server last answered, and what is said of its silence.

A process can live on although it no longer does its work. So what counts is the time of change of a file, which it touches with
each answer of the server.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medfl.system.text import format_duration


@dataclass(frozen=True)
class Pulse:
    """How a sign of life is read.

    Parameters
    ----------
    sign : Path
        File whose time of change is that of the last answer.
    partner : str
        Whose answers these are, in the lines for a person.
    told_after : float
        Seconds of silence after which a person is told.
    lost_after : float
        Seconds without a sign that it tries, after which the process is started anew: one that waits for its partner would
        lose its work by that.
    activity : Path, optional
        File whose time of change is when the process last did its work or tried to; the sign itself unless given.
    """

    sign: Path
    partner: str
    told_after: float
    lost_after: float
    activity: Path | None = None

    def last_answer(self) -> float | None:
        """Return when the last answer came, in seconds since the epoch; None when there was none yet."""
        return _changed_at(self.sign)

    def last_activity(self) -> float | None:
        """Return when the process last did its work or tried to, as in `last_answer`."""
        return _changed_at(self.activity or self.sign)


class PulseWatch:
    """What is known of a sign of life since its process was started.

    Parameters
    ----------
    pulse : Pulse
        How it is read.
    """

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._begun = time.time()
        self._silent_since: float | None = None  # once a person was told

    def begin(self) -> None:
        """Count silence from now on: the process was just started."""
        self._begun = time.time()

    def is_lost(self) -> bool:
        """Return whether the process has not even tried for so long that it hangs, and is to be started anew."""
        return time.time() - max(self._begun, self._pulse.last_activity() or 0.0) > self._pulse.lost_after

    def describe_changes(self, last_words: str) -> Iterator[str]:
        """Yield a line when the silence has lasted long enough to be told, and one when it is over.

        Parameters
        ----------
        last_words : str
            What the process said last, for a person at the same machine.
        """
        answered, now = self._pulse.last_answer(), time.time()
        if self._silent_since is None and self._silence() > self._pulse.told_after:
            self._silent_since = answered if answered is not None else self._begun
            said = f" It says: {last_words}" if last_words else ""
            since = f"for {format_duration(now - self._silent_since)}"
            yield f"{self._pulse.partner} has not answered {since}; the site goes on trying, and takes no part meanwhile.{said}"
        elif self._silent_since is not None and answered is not None and answered > self._silent_since:
            yield f"{self._pulse.partner} answers again, after {format_duration(answered - self._silent_since)}."
            self._silent_since = None

    def _silence(self) -> float:
        answered = self._pulse.last_answer()
        return time.time() - max(self._begun, answered or 0.0)


def _changed_at(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None
