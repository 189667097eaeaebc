"""Outcome of a run: a simulation is run with a live display, its report is written, its headlines are printed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from medfl.cli.console import output
from medfl.cli.run_display import RunDisplay, follow_run

if TYPE_CHECKING:
    from medfl.report.report_data import ReportData
    from medfl.report.verdict import Headline
    from medfl.simulation.simulated_run import Engine, SimulatedRun


@dataclass(frozen=True)
class RunOutcome:
    """Outcome of a finished run.

    Parameters
    ----------
    run : Path
        The run folder.
    report : Path
        The HTML report.
    headlines : tuple of Headline
        The report's headline numbers.
    verdict : tuple of str
        The outcome of the study, in sentences.
    left_out : str
        Sentence about the cases that the hospitals left out; empty for none.
    """

    run: Path
    report: Path
    headlines: tuple[Headline, ...]
    verdict: tuple[str, ...]
    left_out: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the outcome for JSON."""
        numbers = {headline.label: headline.value for headline in self.headlines}
        return {"run": str(self.run), "report": str(self.report), "headlines": numbers, "verdict": list(self.verdict)}

    def print(self) -> None:
        """Print the outcome for a person."""
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
    simulation : SimulatedRun
        What to run.
    engine : {"embedded", "ray"}
        What runs it.
    workers : int
        Hospitals that work at once; 0: as many as the cores allow.
    quiet : bool
        Show nothing while it runs.

    Returns
    -------
    RunOutcome
    """
    from medfl.report import write_report

    display = RunDisplay(simulation.study, [site.name for site in simulation.sites])
    try:
        with follow_run(simulation.run, display, quiet=quiet):
            simulation.start(engine, workers)
    except BaseException:
        if simulation.run.is_dir():
            with suppress(Exception):  # a report that fails, too, must not hide what ended the run
                write_report(simulation.run)
        raise
    return report_run(simulation.run)


def report_run(run: Path) -> RunOutcome:
    """Write the report of a run, and return its outcome."""
    from medfl.report import write_report
    from medfl.report.report_data import read_report_data
    from medfl.report.verdict import headlines, verdict_sentences

    report, data = write_report(run), read_report_data(run)
    return RunOutcome(run, report, headlines(data), tuple(verdict_sentences(data)), left_out_sentence(data))


def left_out_sentence(data: ReportData) -> str:
    """Return how many cases the hospitals left out, as a sentence; empty for none."""
    from medfl.messages.counts import format_sum

    excluded = [count for site in data.joined.values() for count in site.excluded.values()]
    if not any(excluded):
        return ""
    total = [*excluded, *(count for site in data.joined.values() for count in site.cases.values())]
    return f"{format_sum(excluded)} of {format_sum(total)} cases left out; the report says why."
