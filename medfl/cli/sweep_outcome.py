"""Outcome of a sweep: its runs are made with a live display, and the leaderboard is written and printed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from medfl.cli.console import errors, output, print_json
from medfl.cli.live_display import call_repeatedly, show_live
from medfl.cli.sweep_display import SweepDisplay
from medfl.system.text import format_duration, plural

if TYPE_CHECKING:
    from medfl.report.leaderboard import Leaderboard, LeaderboardRow
    from medfl.simulation.run_times import RunTime
    from medfl.simulation.sweep_runner import RunResult, Sweep


def run_all(sweep: Sweep, workers: int = 0, *, quiet: bool = False) -> list[RunResult]:
    """Run a sweep as `run_and_rank` does, and return the results of its runs."""
    return _run(sweep, workers, quiet=quiet)[0]


def run_and_rank(sweep: Sweep, workers: int = 0, *, quiet: bool = False) -> Leaderboard:
    """Run a sweep with a live display, and write the leaderboard after each of its runs.

    Parameters
    ----------
    sweep : Sweep
        What to run.
    workers : int
        Hospitals that work at once; 0: as many as the cores allow.
    quiet : bool
        Show nothing while it runs.

    Returns
    -------
    Leaderboard
    """
    return _run(sweep, workers, quiet=quiet)[1]


def _run(sweep: Sweep, workers: int, *, quiet: bool) -> tuple[list[RunResult], Leaderboard]:
    from medfl.report import write_report
    from medfl.report.leaderboard import build_leaderboard
    from medfl.report.leaderboard_page import write_leaderboard
    from medfl.report.report_files import REPORT_FILE
    from medfl.simulation.sweep_runner import run_sweep
    from medfl.simulation.worker_pool import warm_up

    if any(planned.finished is None for planned in sweep.runs):
        warm_up()
    if other := sum(planned.has_other_data for planned in sweep.runs):
        errors.print(f"The data has changed since {plural(other, 'run')} of this sweep; the same settings are run anew on it.")
    display = SweepDisplay(sweep)
    results: list[RunResult] = []
    try:
        with _show_sweep(display, quiet=quiet):
            for result in run_sweep(sweep, workers):
                results.append(result)
                # Ctrl-C may have come between run and report
                if result.run.is_dir() and not (result.run / REPORT_FILE).is_file():
                    with suppress(Exception):  # a report that fails must not end the sweep
                        write_report(result.run)
                leaderboard = build_leaderboard(sweep, results)
                if not sweep.arms:  # a comparison has a table of its own
                    write_leaderboard(leaderboard)
                display.add_result(result, leaderboard)
                if not quiet and not errors.is_terminal:
                    errors.print(display.result_line())
    except KeyboardInterrupt:
        errors.print(
            f"{len(results)} of {len(sweep.runs)} runs are done. Go on: medfl resume {shlex.quote(str(sweep.folder))}",
            soft_wrap=True,
        )
        raise
    return results, leaderboard


@contextmanager
def _show_sweep(display: SweepDisplay, *, quiet: bool) -> Iterator[None]:
    """Show a sweep while the body runs: on a terminal as a display, in a log as lines."""
    if quiet or errors.is_terminal:
        with show_live(display, lambda is_last: display.update(), quiet=quiet):
            yield
        return
    printed = ""

    def print_new(is_last: bool) -> None:
        nonlocal printed
        display.update()
        if not is_last and (line := display.run_line()) != printed:
            errors.print(line)
            printed = line

    with call_repeatedly(print_new):
        yield


def print_leaderboard(leaderboard: Leaderboard) -> None:
    """Print a leaderboard for a person."""
    from medfl.report.leaderboard_page import LEADERBOARD_HTML, verdict_sentences

    output.print(leaderboard_table(leaderboard))
    for sentence in verdict_sentences(leaderboard):
        output.print(sentence)
    for row in leaderboard.rows:
        for run in row.runs:
            if run.reason:
                output.print(f"{row.title}, seed {run.seed}: {run.reason}", style="red")
    output.print(f"Leaderboard: {leaderboard.folder / LEADERBOARD_HTML}", soft_wrap=True)


def leaderboard_table(leaderboard: Leaderboard) -> Table:
    """Return the leaderboard for a terminal of 80 columns; each heading names both lines of the cells below it."""
    from medfl.report.formatting import format_score
    from medfl.report.leaderboard import score_name
    from medfl.report.leaderboard_page import cost_cells, format_interval, format_lowest_site, format_personal, format_seeds

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("strategy", overflow="fold", min_width=8)
    headings = [
        f"{score_name(leaderboard.study)}\n95 %",
        "lowest\nhospital",
        *(["of own\nmodels"] if leaderboard.has_personal else []),
    ]
    for heading in (*headings, "steps\nrounds", "up\nin all", "down\nin all", "time\nseeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in leaderboard.rows:
        if not row.completed_runs:
            empty = ["–"] * (len(table.columns) - 2)
            table.add_row(row.title, *empty, format_seeds(leaderboard, row), style="dim", end_section=True)
            continue
        steps, rounds, up, down, all_up, all_down, taken = (cell.text for cell in cost_cells(row))
        cells = [
            (row.title + (" =" if row.tied else ""),),
            (format_score(row.score), format_interval(row.interval).replace(" to ", "–"), _format_seed_spread(row)),
            (format_score(row.lowest), format_lowest_site(row)),
            *([tuple(format_personal(row).split(" "))] if leaderboard.has_personal else []),
            (steps, rounds),
            (up, all_up),
            (down, all_down),
            (taken, format_seeds(leaderboard, row)),
        ]
        table.add_row(*("\n".join(filter(None, cell)) for cell in cells), end_section=True)
    tied = "; = cannot be told apart from the first" if any(row.tied for row in leaderboard.rows) else ""
    seeds = "; third line: from the lowest to the highest seed" if len(leaderboard.seeds) > 1 else ""
    table.caption = f"up and down: bytes of a round, below in all{seeds}{tied}"
    return table


def _format_seed_spread(row: LeaderboardRow) -> str:
    from medfl.report.leaderboard_page import format_spread

    return format_spread(row).replace(" to ", "…")


def print_plan(sweep: Sweep, workers: int = 0, *, as_json: bool = False) -> None:
    """Print what would be run, and how long it would take."""
    from medfl.simulation.run_times import estimate_time

    time = estimate_time(sweep, workers)
    runs = list_planned(sweep)
    if as_json:
        minutes = None if time.seconds is None else time.seconds / 60
        print_json({"folder": str(sweep.folder), "runs": runs, "minutes": minutes, "minutes-from": time.basis})
        return
    table = Table("strategy", "seed", "rounds", "")
    for planned, run in zip(sweep.runs, runs, strict=True):
        state = "completed before" if run["finished"] else "anew: other data before" if planned.has_other_data else ""
        table.add_row(planned.spec.title, str(run["seed"]), str(run["rounds"]), state)
    output.print(table)
    waiting = sum(not run["finished"] for run in runs)
    output.print(f"{waiting} of {len(runs)} runs would be started; nothing was.")
    if waiting:
        output.print(_describe_time(time))
    if sweep.advice_on_splits:
        output.print(sweep.advice_on_splits)


def _describe_time(time: RunTime) -> str:
    if time.seconds is None:
        return "How long they take is not known before one of them is completed."
    about = f"About {format_duration(max(1, round(time.seconds)))}"
    if time.basis == "runs":
        return f"{about}, by {plural(time.count, 'completed run')}."
    return f"{about} of training, by one measured step of {time.count}; preparing, loading and scoring come on top."


def list_planned(sweep: Sweep) -> list[dict[str, Any]]:
    """Return the runs of a sweep as JSON values."""
    return [
        {"strategy": p.spec.text, "seed": p.seed, "rounds": p.simulation.study.rounds, "finished": p.finished is not None}
        for p in sweep.runs
    ]
