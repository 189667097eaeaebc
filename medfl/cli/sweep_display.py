"""Display of a sweep: its runs, the best strategy so far, and the time that is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfl.cli.live_display import format_times, progress_head

if TYPE_CHECKING:
    from medfl.report.leaderboard import Leaderboard
    from medfl.simulation.sweep_runner import PlannedRun, RunResult, Sweep

_MAX_ROWS = 16  # runs, those around the one at hand
_STYLES = {"completed": "green", "failed": "red", "": "dim"}


class SweepDisplay:
    """Display of a sweep: which run of how many, the time left, and the highest score so far.

    Parameters
    ----------
    sweep : Sweep
        What is run.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._results: list[RunResult] = []
        self._leaderboard: Leaderboard | None = None
        self._rounds, self._score = 0, ""  # of the run at hand
        self._started = time.monotonic()

    def add_result(self, result: RunResult, leaderboard: Leaderboard) -> None:
        """Add a run that has ended."""
        self._results.append(result)
        self._leaderboard, self._rounds, self._score = leaderboard, 0, ""

    def update(self) -> None:
        """Read the history of the run at hand."""
        from medfl.runs.history import read_history

        if (planned := self._current_run) is None:
            return
        rounds = [event for event in read_history(planned.simulation.run) if event["event"] == "round"]
        scores = [event["score"] for event in rounds if event.get("score") is not None]
        shown = scores and not self._sweep.arms  # of several arms of a run it would be anyone's
        self._rounds, self._score = len(rounds), f"{scores[-1]:.3f} on validation patients" if shown else ""

    def run_line(self) -> str:
        """Return the run at hand as a line of a log, empty for none."""
        if (planned := self._current_run) is None:
            return ""
        return f"{self._name(len(self._results))}: {self._round_of(planned)}{self._score and f', {self._score}'}"

    def result_line(self) -> str:
        """Return the result of the last run that has ended as a line of a log."""
        result = self._results[-1]
        reason = f": {result.reason}" if result.reason else ""
        return f"{self._name(len(self._results) - 1)}: {result.status}{reason}" + (
            f"; {best}" if (best := self._best()) else ""
        )

    def _round_of(self, planned: PlannedRun) -> str:
        return f"round {self._rounds} of {planned.rounds}"

    def _name(self, index: int) -> str:
        planned = self._sweep.runs[index]
        return f"run {index + 1} of {len(self._sweep.runs)}, {planned.spec.title}, seed {planned.seed}"

    def __rich__(self) -> RenderableType:
        runs, finished = len(self._sweep.runs), len(self._results)
        texts = (f"run {min(finished + 1, runs)} of {runs}", format_times(self._elapsed, self._estimate_remaining()))
        head = progress_head(self._sweep.study.name, finished + self._fraction_done, runs, *texts)
        best = self._best()
        return Group(head, *([Text(best, style="dim")] if best else []), self._table())

    @property
    def _current_run(self) -> PlannedRun | None:
        return self._sweep.runs[len(self._results)] if len(self._results) < len(self._sweep.runs) else None

    @property
    def _fraction_done(self) -> float:
        """Share of the run at hand that is done."""
        planned = self._current_run
        return self._rounds / max(1, planned.rounds) if planned else 0.0

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _estimate_remaining(self) -> float | None:
        """Return how long the rest will take: all runs have one budget, so each is expected to take as long as those so far."""
        new = (
            sum(result.planned.finished is None and result.status == "completed" for result in self._results)
            + self._fraction_done
        )
        if not new:
            return None
        waiting = sum(planned.finished is None for planned in self._sweep.runs[len(self._results) :]) - self._fraction_done
        return waiting * self._elapsed / new

    def _best(self) -> str:
        """Return the highest score so far; empty in a comparison, whose runs have several arms each."""
        from medfl.report.formatting import format_score
        from medfl.report.leaderboard import score_name

        if self._sweep.arms:
            return ""
        rows = self._leaderboard.rows if self._leaderboard else ()
        if not rows or not rows[0].completed_runs:
            return "no run has been tested yet"
        return f"highest so far: {rows[0].title}, {score_name(self._sweep.study)} {format_score(rows[0].score)}"

    def _table(self) -> Table:
        table = Table("strategy", "seed", "state", *([] if self._sweep.arms else ["score"]), box=None, padding=(0, 2))
        ranked = {
            (row.text, run.seed): run
            for row in (self._leaderboard.rows if self._leaderboard and not self._sweep.arms else ())
            for run in row.runs
        }
        first = min(max(0, len(self._results) - _MAX_ROWS // 2), max(0, len(self._sweep.runs) - _MAX_ROWS))
        for k, planned in list(enumerate(self._sweep.runs))[first : first + _MAX_ROWS]:
            run = ranked.get((planned.spec.text, planned.seed))
            state, score = "", ""
            if k < len(self._results):
                state, score = self._results[k].status, f"{run.score:.3f}" if run and run.score == run.score else ""
            elif planned is self._current_run:
                state, score = self._round_of(planned), self._score
            row = (planned.spec.title, str(planned.seed), state or ("completed before" if planned.finished else ""), score)
            table.add_row(*row[: len(table.columns)], style=_STYLES.get(state))
        return table
