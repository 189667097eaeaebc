"""Conducting a sweep with one live display, and telling what came of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output

if TYPE_CHECKING:
    from medfl.report.leaderboard import Leaderboard, LeaderboardRow
    from medfl.simulation.sweep_runner import PlannedRun, RunResult, Sweep

_REFRESH = 0.5  # seconds
_MAX_ROWS = 16  # runs, those around the one at hand
_STYLES = {"completed": "green", "failed": "red", "": "dim"}


class SweepDisplay:
    """What a person sees while a sweep runs: which run of how many, the time left, and the best so far.

    Parameters
    ----------
    sweep : Sweep
        What runs.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._results: list[RunResult] = []
        self._leaderboard: Leaderboard | None = None
        self._rounds, self._score = 0, ""  # of the run at hand
        self._started = time.monotonic()

    def add_result(self, result: RunResult, board: Leaderboard) -> None:
        """Take in what became of a run."""
        self._results.append(result)
        self._leaderboard, self._rounds, self._score = board, 0, ""

    def update(self) -> None:
        """Look at the history of the run at hand."""
        from medfl.runs.history import read_history

        if (planned := self._current_run) is None:
            return
        rounds = [event for event in read_history(planned.simulation.run) if event["event"] == "round"]
        scores = [event["score"] for event in rounds if event.get("score") is not None]
        self._rounds, self._score = len(rounds), f"{scores[-1]:.3f} on validation patients" if scores else ""

    def __rich__(self) -> RenderableType:
        from medfl.report.formatting import duration

        head, runs = Table.grid(padding=(0, 2)), len(self._sweep.runs)
        head.add_row(
            Text(self._sweep.study.name, style="bold"),
            ProgressBar(runs, len(self._results) + self._fraction_done, width=30),
            f"run {min(len(self._results) + 1, runs)} of {runs}",
            f"{duration(self._elapsed)} gone, {self._time_left()} left",
        )
        return Group(head, Text(self._best(), style="dim"), self._table())

    @property
    def _current_run(self) -> PlannedRun | None:
        return self._sweep.runs[len(self._results)] if len(self._results) < len(self._sweep.runs) else None

    @property
    def _fraction_done(self) -> float:
        """How much of the run at hand is done."""
        planned = self._current_run
        return self._rounds / planned.simulation.study.rounds if planned else 0.0

    @property
    def _elapsed(self) -> float:
        return round(time.monotonic() - self._started)

    def _time_left(self) -> str:
        """Say how long it will take: every run has the same budget, so each is expected to take as long as those so far."""
        from medfl.report.formatting import duration

        new = (
            sum(result.planned.finished is None and result.status == "completed" for result in self._results)
            + self._fraction_done
        )
        if not new:
            return "–"
        waiting = sum(planned.finished is None for planned in self._sweep.runs[len(self._results) :]) - self._fraction_done
        return duration(round(waiting * self._elapsed / new))

    def _best(self) -> str:
        from medfl.report.formatting import score
        from medfl.report.leaderboard import score_name

        rows = self._leaderboard.rows if self._leaderboard else ()
        if not rows or not rows[0].completed_runs:
            return "no run has been tested yet"
        return f"best so far: {rows[0].title}, {score_name(self._sweep.study)} {score(rows[0].score)}"

    def _table(self) -> Table:
        table = Table("strategy", "seed", "state", "score", box=None, padding=(0, 2))
        told = {(row.text, run.seed): run for row in (self._leaderboard.rows if self._leaderboard else ()) for run in row.runs}
        first = min(max(0, len(self._results) - _MAX_ROWS // 2), max(0, len(self._sweep.runs) - _MAX_ROWS))
        for k, planned in list(enumerate(self._sweep.runs))[first : first + _MAX_ROWS]:
            run = told.get((planned.spec.text, planned.seed))
            state, score = "", ""
            if k < len(self._results):
                state, score = self._results[k].status, f"{run.score:.3f}" if run and run.score == run.score else ""
            elif planned is self._current_run:
                state, score = f"round {self._rounds} of {planned.simulation.study.rounds}", self._score
            row = (planned.spec.title, str(planned.seed), state or ("completed before" if planned.finished else ""), score)
            table.add_row(*row, style=_STYLES.get(state))
        return table


def run_and_rank(sweep: Sweep, workers: int = 0, *, quiet: bool = False) -> Leaderboard:
    """Conduct a sweep, and write the leader board after each of its runs.

    Parameters
    ----------
    sweep : Sweep
        What to run.
    workers : int
        Hospitals that work at once; 0: as the cores allow.
    quiet : bool
        Show nothing while it runs.

    Returns
    -------
    Board
    """
    from medfl.report import write_report
    from medfl.report.leaderboard import build_leaderboard
    from medfl.report.leaderboard_page import write_leaderboard
    from medfl.report.render import REPORT_FILE as REPORT
    from medfl.simulation.sweep_runner import run_sweep
    from medfl.simulation.worker_pool import warm_up

    if any(planned.finished is None for planned in sweep.runs):
        warm_up()
    progress = SweepDisplay(sweep)
    results: list[RunResult] = []
    try:
        with _show_live(progress, quiet):
            for result in run_sweep(sweep, workers):
                results.append(result)
                if result.run.is_dir() and not (result.run / REPORT).is_file():  # Ctrl-C may have come between run and report
                    with suppress(Exception):  # a report that fails must not end the sweep
                        write_report(result.run)
                board = build_leaderboard(sweep, results)
                write_leaderboard(board)
                progress.add_result(result, board)
    except KeyboardInterrupt:
        errors.print(
            f"{len(results)} of {len(sweep.runs)} runs are done. The same command with --resume {sweep.folder} goes on.",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        raise
    return board


def print_leaderboard(board: Leaderboard) -> None:
    """Tell a person."""
    from medfl.report.leaderboard_page import LEADERBOARD_HTML, verdict_sentences

    output.print(leaderboard_table(board))
    for sentence in verdict_sentences(board):
        output.print(sentence, markup=False, highlight=False)
    for row in board.rows:
        for run in row.runs:
            if run.reason:
                output.print(f"{row.title}, seed {run.seed}: {run.reason}", style="red", markup=False, highlight=False)
    output.print(f"Leader board: {board.folder / LEADERBOARD_HTML}", soft_wrap=True, highlight=False)


def leaderboard_table(board: Leaderboard) -> Table:
    """Return the leader board for a terminal of 80 columns; a second line in a cell is told in its heading."""
    from medfl.report import formatting
    from medfl.report.leaderboard import score_name
    from medfl.report.leaderboard_page import cost_cells, format_interval, format_personal, format_seeds, format_worst_site

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("strategy", overflow="fold", min_width=8)
    headings = [f"{score_name(board.study)}\n95 %", "worst\nhospital", *(["of own\nmodels"] if board.has_personal else [])]
    for heading in (*headings, "steps\nrounds", "up\nin all", "down\nin all", "time\nseeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in board.rows:
        if not row.completed_runs:
            empty = ["–"] * (len(table.columns) - 2)
            table.add_row(row.title, *empty, format_seeds(board, row), style="dim", end_section=True)
            continue
        steps, rounds, up, down, all_up, all_down, taken = (cell.text for cell in cost_cells(row))
        cells = [
            (row.title + (" =" if row.tied else ""),),
            (formatting.score(row.score), format_interval(row.interval).replace(" to ", "–"), _format_seed_spread(row)),
            (formatting.score(row.worst), format_worst_site(row)),
            *([tuple(format_personal(row).split(" "))] if board.has_personal else []),
            (steps, rounds),
            (up, all_up),
            (down, all_down),
            (taken, format_seeds(board, row)),
        ]
        table.add_row(*("\n".join(filter(None, cell)) for cell in cells), end_section=True)
    tied = "; = cannot be told apart from the first" if any(row.tied for row in board.rows) else ""
    seeds = "; third line: from the lowest to the highest seed" if len(board.seeds) > 1 else ""
    table.caption = f"up and down: bytes of a round, below in all{seeds}{tied}"
    return table


def _format_seed_spread(row: LeaderboardRow) -> str:
    from medfl.report.leaderboard_page import format_spread

    return format_spread(row).replace(" to ", "…")


def print_plan(sweep: Sweep, *, as_json: bool = False) -> None:
    """Tell what would be run."""
    runs = [
        {"strategy": p.spec.text, "seed": p.seed, "rounds": p.simulation.study.rounds, "finished": p.finished is not None}
        for p in sweep.runs
    ]
    if as_json:
        output.print_json(json.dumps({"folder": str(sweep.folder), "runs": runs}))
        return
    table = Table("strategy", "seed", "rounds", "")
    for planned, run in zip(sweep.runs, runs, strict=True):
        state = "completed before" if run["finished"] else ""
        table.add_row(planned.spec.title, str(run["seed"]), str(run["rounds"]), state)
    output.print(table)
    waiting = sum(not run["finished"] for run in runs)
    output.print(f"{waiting} of {len(runs)} runs would be started; nothing was.", highlight=False)


@contextmanager
def _show_live(progress: SweepDisplay, quiet: bool) -> Iterator[None]:
    if quiet:
        yield
        return
    done = threading.Event()
    with Live(progress, console=errors, auto_refresh=False, transient=True) as live:
        follower = threading.Thread(target=_refresh_until_done, args=(progress, live, done), daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _refresh_until_done(progress: SweepDisplay, live: Live, done: threading.Event) -> None:
    while True:
        last = done.wait(_REFRESH)
        progress.update()
        live.refresh()
        if last:
            return
