"""Running a simulation with a live display, and telling what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live

from medfl.cli.console import errors, output
from medfl.cli.progress import Board

if TYPE_CHECKING:
    from medfl.simulation.simulate import Engine, Simulation

_REFRESH = 0.5  # seconds


@dataclass(frozen=True)
class Outcome:
    """What a finished run has to show.

    Parameters
    ----------
    run : Path
        The run folder.
    report : Path
        The HTML report.
    headlines : tuple of (str, str)
        The report's headline numbers: what, and the value as text.
    """

    run: Path
    report: Path
    headlines: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as JSON can hold it."""
        return {"run": str(self.run), "report": str(self.report), "headlines": dict(self.headlines)}

    def print(self) -> None:
        """Tell a person."""
        for what, value in self.headlines:
            output.print(f"{what}: [bold]{value}[/]")
        output.print(f"Report: {self.report}", soft_wrap=True)


def run_and_report(simulation: Simulation, engine: Engine, workers: int = 0, *, quiet: bool = False) -> Outcome:
    """Run a simulation with a live display, then write its report.

    Parameters
    ----------
    simulation : Simulation
        What to run.
    engine : {"embedded", "ray"}
        With which engine.
    workers : int
        Hospitals that work at once; 0: as the cores allow.
    quiet : bool
        Show nothing while it runs.

    Returns
    -------
    Outcome
    """
    from medfl.report import headlines, write_report

    with _shown(simulation, quiet):
        simulation.start(engine, workers)
    return Outcome(simulation.run, write_report(simulation.run), headlines(simulation.run))


@contextmanager
def _shown(simulation: Simulation, quiet: bool) -> Iterator[None]:
    if quiet:
        yield
        return
    board = Board(simulation.study, [site.name for site in simulation.sites])
    done = threading.Event()
    with Live(board, console=errors, refresh_per_second=4, transient=not errors.is_terminal) as live:
        follower = threading.Thread(target=_follow, args=(simulation.run, board, live, done), daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _follow(run: Path, board: Board, live: Live, done: threading.Event) -> None:
    from medfl.runs.history import read

    while True:
        last = done.wait(_REFRESH)
        board.update(read(run))
        live.refresh()
        if last:
            return
