"""Running a simulation with a live display, and telling what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output
from medfl.cli.live_display import LiveDisplay

if TYPE_CHECKING:
    from medfl.report.report_data import ReportData
    from medfl.report.verdict import Headline
    from medfl.simulation.simulated_run import Engine, SimulatedRun

_REFRESH = 0.5  # seconds


@dataclass(frozen=True)
class RunOutcome:
    """What a finished run has to show.

    Parameters
    ----------
    run : Path
        The run folder.
    report : Path
        The HTML report.
    headlines : tuple of Headline
        The report's headline numbers.
    verdict : tuple of str
        What became of the study, in sentences.
    left_out : str
        How many cases the hospitals left out, as a sentence; empty for none.
    """

    run: Path
    report: Path
    headlines: tuple[Headline, ...]
    verdict: tuple[str, ...]
    left_out: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as JSON can hold it."""
        numbers = {headline.label: headline.value for headline in self.headlines}
        return {"run": str(self.run), "report": str(self.report), "headlines": numbers, "verdict": list(self.verdict)}

    def print(self) -> None:
        """Tell a person."""
        table = Table.grid(padding=(0, 2))
        for headline in self.headlines:
            table.add_row(Text(headline.value, style="bold"), headline.label, Text(headline.note, style="dim"))
        output.print(table)
        for sentence in self.verdict:
            output.print(sentence, markup=False, highlight=False)
        if self.left_out:
            output.print(self.left_out, style="yellow", highlight=False)
        output.print(f"Report: {self.report}", soft_wrap=True, highlight=False)


def run_and_report(simulation: SimulatedRun, engine: Engine, workers: int = 0, *, quiet: bool = False) -> RunOutcome:
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
    from medfl.report import write_report

    board = LiveDisplay(simulation.study, [site.name for site in simulation.sites])
    try:
        with show_live(simulation.run, board, quiet=quiet):
            simulation.start(engine, workers)
    except BaseException:
        if simulation.run.is_dir():
            with suppress(Exception):  # a report that fails, too, must not hide what ended the run
                write_report(simulation.run)
        raise
    return report_run(simulation.run)


def report_run(run: Path) -> RunOutcome:
    """Write the report of a run, and return what it has to show."""
    from medfl.report import write_report
    from medfl.report.report_data import read_report_data
    from medfl.report.verdict import headlines, verdict_sentences

    report, data = write_report(run), read_report_data(run)
    return RunOutcome(run, report, headlines(data), tuple(verdict_sentences(data)), left_out_sentence(data))


def left_out_sentence(data: ReportData) -> str:
    """Say how many cases the hospitals left out, in a sentence; nothing for none."""
    from medfl.messages.counts import format_sum

    told = [count for site in data.joined.values() for count in site.excluded.values()]
    if not any(told):
        return ""
    every = [*told, *(count for site in data.joined.values() for count in site.cases.values())]
    return f"{format_sum(told)} of {format_sum(every)} cases left out; the report says why."


@contextmanager
def show_live(run: Path, board: LiveDisplay, *, quiet: bool = False) -> Iterator[None]:
    """Show what a run does while the body runs, drawn from its history.

    Parameters
    ----------
    run : Path
        The run folder; it need not be there yet.
    board : Board
        What is drawn.
    quiet : bool
        Show nothing.
    """
    if quiet:
        yield
        return
    done = threading.Event()
    # refreshed by the follower alone, or rich's own thread would draw a board that is half updated
    with Live(board, console=errors, auto_refresh=False, transient=not errors.is_terminal) as live:
        follower = threading.Thread(target=_refresh_until_done, args=(run, board, live, done), daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _refresh_until_done(run: Path, board: LiveDisplay, live: Live, done: threading.Event) -> None:
    from medfl.audit.chain import busy_sites
    from medfl.runs.history import read_history

    while True:
        last = done.wait(_REFRESH)
        board.update(read_history(run))
        board.set_busy_sites({} if last else busy_sites(run / "audit.jsonl"))
        live.refresh()
        if last:
            return
