"""Leaderboard in words, as tables, and as one HTML file that loads nothing from the network."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medfl
from medfl.report.formatting import format_difference, format_score
from medfl.report.leaderboard import Interval, Leaderboard, LeaderboardRow, score_name
from medfl.report.tables import Cell, Row, Table
from medfl.report.templates import render_page
from medfl.simulation.sweep_runner import NOT_RUN
from medfl.system.files import translate_disk_errors, write_file
from medfl.system.text import format_bytes, format_duration, join_words, plural

LEADERBOARD_HTML, LEADERBOARD_JSON = "board.html", "board.json"
_MATCH_TOLERANCE = 0.02  # share by which sums of steps may differ and still count as equal
_DASH = "–"


@dataclass(frozen=True)
class IntervalBar:
    """Interval of a strategy as it is drawn: its place between the ends of the axis, in percent."""

    title: str
    start: float
    width: float
    mean: float
    text: str
    tied: bool


def write_leaderboard(leaderboard: Leaderboard) -> Path:
    """Write ``board.json`` and ``board.html`` into the folder of a sweep, replacing older ones.

    Parameters
    ----------
    leaderboard : Leaderboard
        What to write.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    RunError
        When the folder cannot be written.
    """
    content = leaderboard.as_json() | {"verdict": verdict_sentences(leaderboard)}
    with translate_disk_errors("the leaderboard", "give the command again with --resume"):
        write_file(leaderboard.folder / LEADERBOARD_JSON, json.dumps(content, indent=1, ensure_ascii=False).encode())
        write_file(leaderboard.folder / LEADERBOARD_HTML, render_leaderboard(leaderboard).encode())
    return leaderboard.folder / LEADERBOARD_HTML


def render_leaderboard(leaderboard: Leaderboard) -> str:
    """Return a leaderboard as HTML."""
    return render_page("leaderboard.html.j2", ("report.css", "leaderboard.css"), **_context(leaderboard))


def verdict_sentences(leaderboard: Leaderboard) -> list[str]:
    """Return what a leaderboard shows: one sentence for each idea, the most important first."""
    return [
        *_leader_sentences(leaderboard),
        *_budget_sentences(leaderboard),
        *_missing_sentences(leaderboard),
        *_local_layer_sentences(leaderboard),
    ]


def score_table(leaderboard: Leaderboard) -> Table:
    """Return what each strategy reached."""
    name, several = score_name(leaderboard.study), len(leaderboard.seeds) > 1
    columns = ["Strategy", name, *(["Over seeds"] if several else []), "95 % interval", "Difference to the first"]
    columns += ["Lowest at a hospital", *(["Personal models (gain)"] if leaderboard.has_personal else []), "Seeds"]
    rows = [Row(row.title, _score_cells(leaderboard, row), mark="level" if row.tied else "") for row in leaderboard.rows]
    return Table(tuple(columns), tuple(rows))


def cost_table(leaderboard: Leaderboard) -> Table:
    """Return what one run of each strategy took."""
    columns = ("Strategy", "Local steps", "Rounds", "Up a round", "Down a round", "Up in all", "Down in all", "Time")
    return Table(columns, tuple(Row(row.title, cost_cells(row)) for row in leaderboard.rows if row.completed_runs))


def cost_cells(row: LeaderboardRow) -> tuple[Cell, ...]:
    """Return the local steps, the rounds, the bytes and the time of one run, as cells."""
    sizes = (*row.round_bytes, row.bytes_up, row.bytes_down) if row.rounds else ()
    texts = [
        f"{row.steps:,.0f}".replace(",", " "),
        f"{row.rounds:g}",
        *map(format_bytes, sizes),
        format_duration(row.seconds),
    ]
    return tuple(Cell(text) for text in texts)


def format_spread(row: LeaderboardRow) -> str:
    """Return the lowest and the highest score over the seeds, empty with one."""
    return "" if math.isnan(row.spread) else f"{min(_defined_scores(row)):.3f} to {max(_defined_scores(row)):.3f}"


def format_interval(interval: Interval | None, *, signed: bool = False) -> str:
    """Return an interval, a dash for none."""
    if interval is None:
        return _DASH
    low, high = (format_difference(value, 3) if signed else format_score(value) for value in interval)
    return f"{low} to {high}"


def format_personal(row: LeaderboardRow) -> str:
    """Return the score of the personal models, with their gain over the shared model if there is one."""
    if math.isnan(row.personal):
        return _DASH
    gain = row.personal - row.shared_on_own
    return format_score(row.personal) + ("" if math.isnan(gain) else f" ({format_difference(gain, 3)})")


def format_lowest_site(row: LeaderboardRow) -> str:
    """Return the hospital with the lowest score of a row, empty for none; it may change from seed to seed."""
    return "varies" if len(row.lowest_sites) > 1 else "".join(row.lowest_sites)


def format_seeds(leaderboard: Leaderboard, row: LeaderboardRow) -> str:
    """Return how many seeds a row stands for, and of how many if not all are done."""
    planned, done = len(leaderboard.seeds), len(row.completed_runs)
    return str(done) if done == planned else f"{done} of {planned}"


def _score_cells(leaderboard: Leaderboard, row: LeaderboardRow) -> tuple[Cell, ...]:
    seeds, several = format_seeds(leaderboard, row), len(leaderboard.seeds) > 1
    if not row.completed_runs:
        return (*[Cell(_DASH, "num none")] * (4 + several + leaderboard.has_personal), Cell(seeds, "num warn"))
    cells = [format_score(row.score), *([format_spread(row) or _DASH] if several else []), format_interval(row.interval)]
    cells += ["first" if row is leaderboard.rows[0] else format_interval(row.behind, signed=True)]
    cells += [f"{format_score(row.lowest)} {format_lowest_site(row)}".strip()]
    if leaderboard.has_personal:
        cells.append(format_personal(row))
    return (*map(Cell, cells), Cell(seeds, "num" if len(row.completed_runs) == len(leaderboard.seeds) else "num warn"))


def _leader_sentences(leaderboard: Leaderboard) -> Iterator[str]:
    scored = [row for row in leaderboard.rows if not math.isnan(row.score)]
    if not scored:
        yield (
            "No run has reached a test yet."
            if any(r.status == NOT_RUN for row in leaderboard.rows for r in row.runs)
            else "No strategy reached a test."
        )
        return
    first, tied = scored[0], [row for row in scored if row.tied]
    reached = _format_reached(leaderboard, first)
    if len(scored) == 1:
        yield f"{first.title} reached {reached}; there is nothing to compare it with."
    elif tied:
        yield f"{_format_tied(scored, tied)} cannot be told apart on these patients; {first.title} stands first with {reached}."
    elif any(row.behind for row in scored):
        yield f"{first.title} leads with {reached}, apart from every strategy that can be compared patient by patient."
    else:
        yield (
            f"The highest score is that of {first.title}, {reached}. The strategies cannot be compared patient by patient, "
            "so whether any of them is better is not shown."
        )


def _format_reached(leaderboard: Leaderboard, row: LeaderboardRow) -> str:
    name, several = score_name(leaderboard.study), len(row.completed_runs) > 1
    score = f"a mean {name}" if several else f"{'an' if name == 'AUROC' else 'a'} {name}"
    patients = f" on {plural(leaderboard.patients, 'test patient')}" if leaderboard.patients else ""
    seeds = f" over {len(row.completed_runs)} seeds" if several else ""
    return f"{score} of {format_score(row.score)}{seeds}{patients}"


def _format_tied(scored: list[LeaderboardRow], tied: list[LeaderboardRow]) -> str:
    if scored[1 : len(tied) + 1] != tied:  # others stand between them
        return join_words([scored[0].title, *(row.title for row in tied)])
    if len(tied) + 1 == len(scored):
        return "The two" if len(scored) == 2 else f"All {len(scored)}"
    return f"The first {len(tied) + 1}"


def _budget_sentences(leaderboard: Leaderboard) -> Iterator[str]:
    steps = {row.title: row.steps for row in leaderboard.rows if row.completed_runs}
    if len(steps) < 2:
        return
    fewest, most = min(steps.values()), max(steps.values())
    steps_range = f"{fewest:,.0f} to {most:,.0f}".replace(",", " ")
    if most <= fewest * (1 + _MATCH_TOLERANCE):
        same = f"{most:,.0f}".replace(",", " ") if most == fewest else steps_range
        yield f"The budget is matched: each took {same} local steps in a run."
    else:
        low, high = min(steps, key=lambda t: steps[t]), max(steps, key=lambda t: steps[t])
        yield f"The budget is not matched: runs took {steps_range} local steps ({low} the fewest, {high} the most)."


def _missing_sentences(leaderboard: Leaderboard) -> Iterator[str]:
    failed = [row.title for row in leaderboard.rows if any(run.status == "failed" for run in row.runs)]
    waiting = [row.title for row in leaderboard.rows if any(run.status == NOT_RUN for run in row.runs)]
    if failed:
        yield f"{join_words(failed)} failed; the reasons are below."
    if waiting:
        yield f"{join_words(waiting)} {'has' if len(waiting) == 1 else 'have'} not been run with every seed yet."
    if any(0 < len(row.completed_runs) < len(leaderboard.seeds) for row in leaderboard.rows):
        yield "Means over fewer seeds than the others’ are about other patients: do not compare them."


def _local_layer_sentences(leaderboard: Leaderboard) -> Iterator[str]:
    titles = [row.title for row in leaderboard.rows if row.completed_runs and row.lacks_layers]
    if titles:
        yield (
            f"The shared model of {join_words(titles)} lacks the layers that stay at the hospitals and is scored with "
            "untrained layers instead; judge these strategies by their personal models."
        )


def _interval_bars(leaderboard: Leaderboard) -> tuple[list[IntervalBar], tuple[str, str]]:
    """Return the intervals as bars, and the ends of the axis."""
    drawn = [row for row in leaderboard.rows if row.interval is not None]
    ends = [value for row in drawn for value in (*(row.interval or ()), row.score)]
    if not ends:
        return [], ("", "")
    low, high = math.floor(min(ends) * 50) / 50, math.ceil(max(ends) * 50) / 50
    span = max(high - low, 0.02)
    bars = []
    for row in drawn:
        start, stop = row.interval or (low, low)
        positions = [100 * (value - low) / span for value in (start, stop - start + low, row.score)]
        text = f"{format_score(row.score)} ({format_interval(row.interval)})"
        bars.append(IntervalBar(row.title, positions[0], positions[1], positions[2], text, row.tied))
    return bars, (f"{low:.2f}", f"{low + span:.2f}")


def _context(leaderboard: Leaderboard) -> dict[str, Any]:
    interval_bars, axis = _interval_bars(leaderboard)
    runs = [(row, run) for row in leaderboard.rows for run in row.runs]
    return {
        "leaderboard": leaderboard,
        "study": leaderboard.study,
        "name": score_name(leaderboard.study),
        "verdict": verdict_sentences(leaderboard),
        "scores": score_table(leaderboard),
        "costs": cost_table(leaderboard),
        "interval_bars": interval_bars,
        "axis": axis,
        "runs": runs,
        "waiting": any(run.status == NOT_RUN for _, run in runs),
        "failed": any(run.status == "failed" for _, run in runs),
        "segmentation": leaderboard.study.task.kind == "segmentation",
        "alone": any(row.is_local for row in leaderboard.rows),
        "version": medfl.__version__,
    }


def _defined_scores(row: LeaderboardRow) -> list[float]:
    return [run.score for run in row.completed_runs if not math.isnan(run.score)]
