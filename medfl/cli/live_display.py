"""Live displays: something drawn on the terminal, kept up to date while a command works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors
from medfl.system.text import format_duration

_REFRESH_SECONDS = 0.5


@contextmanager
def show_live(
    display: RenderableType, update: Callable[[bool], None], *, keep: bool = False, quiet: bool = False
) -> Iterator[None]:
    """Show a display while the body runs.

    Parameters
    ----------
    display : RenderableType
        What is drawn.
    update : callable
        Brings the display up to date, twice a second and once after the body, when it is given True.
    keep : bool
        Leave the last state on the terminal.
    quiet : bool
        Show nothing.
    """
    if quiet:
        yield
        return
    # refreshed by the follower alone, or rich's own thread would draw a display that is half updated
    with Live(display, console=errors, auto_refresh=False, transient=not keep) as live:

        def refresh(is_last: bool) -> None:
            update(is_last)
            live.refresh()

        with call_repeatedly(refresh):
            yield


@contextmanager
def call_repeatedly(update: Callable[[bool], None]) -> Iterator[None]:
    """Call a function in a thread of its own while the body runs, twice a second and once after it, when it is given True."""
    done = threading.Event()
    follower = threading.Thread(target=_call_until_done, args=(update, done), daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _call_until_done(update: Callable[[bool], None], done: threading.Event) -> None:
    while True:
        is_last = done.wait(_REFRESH_SECONDS)
        update(is_last)
        if is_last:
            return


def progress_head(title: str, done: float, total: float, *texts: str) -> Table:
    """Return the first line of a display: its title, a bar of the work done, and what else fits."""
    head = Table.grid(padding=(0, 2))
    head.add_row(Text(title, style="bold"), ProgressBar(total, done, width=30), *texts)
    return head


def format_times(elapsed: float, remaining: float | None) -> str:
    """Return the time since the start and the time that is left, None where nobody knows, in whole seconds."""
    return f"{format_duration(round(elapsed))} gone, {'–' if remaining is None else format_duration(round(remaining))} left"
