"""Progress of long work: a bar on a terminal, and in a log a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from medfl.cli.console import errors
from medfl.cli.live_display import call_repeatedly, format_times

_LINE_SECONDS = 10.0  # between two lines of a log


class Advance(Protocol):
    """What work calls to say how far it is."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Say how much is done, of how much, and what is being done if that changes."""


class ProgressLines:
    """Progress as lines of a log: one when something begins, and one every ten seconds while it goes on.

    Parameters
    ----------
    what : str
        What is being done.
    clock : callable
        Returns the time, s.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = self._printed = 0.0
        self._begin(what)

    def advance(self, done: int, total: int, what: str = "") -> None:
        """Note how far the work is; see `Advance`."""
        if what and what != self._what:
            self._begin(what)
        self._done, self._total = done, total

    def tick(self) -> None:
        """Print a line if it is time."""
        now = self._clock()
        if now - self._printed < _LINE_SECONDS:
            return
        self._printed = now
        elapsed = now - self._started
        remaining = elapsed * (self._total - self._done) / self._done if self._done else None
        count = f"{self._done} of {self._total}, " if self._total else ""
        errors.print(f"{self._what}: {count}{format_times(elapsed, remaining)}")

    def _begin(self, what: str) -> None:
        self._what, self._done, self._total = what, 0, 0
        self._started = self._printed = self._clock()
        errors.print(f"{what} …")


@contextmanager
def show_progress(what: str, *, quiet: bool = False) -> Iterator[Advance]:
    """Show progress on standard error while the body runs.

    Parameters
    ----------
    what : str
        What is being done, until the body says something else.
    quiet : bool
        Show nothing.

    Yields
    ------
    Advance
        To be called by the work.
    """
    if quiet:
        yield lambda done, total, what="": None
    elif errors.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=errors, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total, what="": bar.update(task, completed=done, total=total, description=what or None)
    else:
        lines = ProgressLines(what)
        with call_repeatedly(lambda is_last: None if is_last else lines.tick()):
            yield lines.advance
