"""Outcome of a run in the terminal: a simulation is shown while it runs, and its headlines are printed when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output, print_json
from medfl.cli.run_display import RunDisplay, follow_run
from medfl.errors import MedflError

if TYPE_CHECKING:
    from medfl.api import RunOutcome
    from medfl.simulation.simulated_run import Engine, SimulatedRun


def show_simulation(simulation: SimulatedRun, engine: Engine, workers: int = 0, *, quiet: bool = False) -> RunOutcome:
    """Run a simulation with a live display, and return its outcome.

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
    """
    from medfl.api import open_run
    from medfl.api.followed_run import run_followed

    display = RunDisplay(simulation.study, [site.name for site in simulation.sites])
    try:
        with simulation.reserve(), follow_run(simulation.run, display, quiet=quiet, new_only=True):
            run_followed(simulation, engine, workers)
    except (KeyboardInterrupt, MedflError) as ended:
        for note in getattr(ended, "__notes__", ()):  # what was kept, and how it goes on
            errors.print(note, soft_wrap=True)
        raise
    return open_run(simulation.run).outcome()


def print_outcome(outcome: RunOutcome, *, as_json: bool = False) -> None:
    """Print the outcome of a run for a person, or as JSON.

    Raises
    ------
    MedflError
        When the report could not be written, after everything else was printed.
    """
    if as_json:
        print_json(outcome.as_json())
    else:
        _print_text(outcome)
    if outcome.failure:
        raise outcome.failure


def _print_text(outcome: RunOutcome) -> None:
    table = Table.grid(padding=(0, 2))
    for headline in outcome.headlines:
        table.add_row(Text(headline.value, style="bold"), headline.label, Text(headline.note, style="dim"))
    output.print(table)
    for sentence in outcome.verdict:
        output.print(sentence)
    if outcome.left_out:
        output.print(outcome.left_out, style="yellow")
    if outcome.report:
        output.print(f"Report: {outcome.report}", soft_wrap=True)
