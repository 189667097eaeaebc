"""The option `--vary` of `medfl compare`: the comparison for each value of a key, in one table and one chart."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import parse_overrides
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.cli.compare import Comparison
    from medfl.evaluation.arm_differences import ArmDifference
    from medfl.simulation.varied_sweep import VariedSweep
    from medfl.study.study_file import Scalar

_TERMINAL, _FEWEST_CELLS, _MOST_CELLS = 80, 11, 41  # columns of a chart's lines, and of its axis, odd: one cell is zero


def parse_varied(text: str) -> tuple[str, list[Scalar]]:
    """Read ``key=a,b,c``; where there is a semicolon, values are between semicolons and may hold commas.

    Examples
    --------
    >>> parse_varied("simulation.alpha=0.1,1,100")
    ('simulation.alpha', [0.1, 1, 100])
    >>> parse_varied("simulation.positives=0.5,0.5; 0.1,0.9")
    ('simulation.positives', ['0.5,0.5', '0.1,0.9'])
    """
    key, equals, listed = text.partition("=")
    words = [word.strip() for word in listed.split(";" if ";" in listed else ",") if word.strip()]
    if not equals or not words:
        raise typer.BadParameter(f"{text!r} is not of the form key=a,b,c", param_hint="--vary")
    return key.strip(), [parse_overrides([f"value={word}"])["value"] for word in words]


def print_varied_plan(plans: VariedSweep, *, as_json: bool = False) -> None:
    """Print what would be run for each value."""
    from medfl.cli.sweep_outcome import list_planned

    runs = [{plans.key: v, **run} for v, plan in zip(plans.values, plans.sweeps, strict=True) for run in list_planned(plan)]
    if as_json:
        print_json({"folder": str(plans.folder), "vary": plans.key, "runs": runs})
        return
    table = Table(plans.key, "strategy", "seed", "rounds", "hospitals", "")
    for value, plan in zip(plans.values, plans.sweeps, strict=True):
        for planned in plan.runs:
            state = "completed before" if planned.finished else ""
            numbers = (planned.seed, planned.simulation.study.rounds, len(planned.simulation.sites))
            table.add_row(str(value), planned.spec.title, *map(str, numbers), state)
    output.print(table)
    waiting = sum(not run["finished"] for run in runs)
    output.print(f"{waiting} of {plural(len(runs), 'run')} would be started; nothing was.")


def run_varied(plans: VariedSweep, workers: int = 0, *, as_json: bool = False) -> None:
    """Run what is left of the comparisons of all values, write their files and those of all, and print the table."""
    from medfl.cli.compare import COMPARISON_FILE, PATIENTS_FILE, format_rows, make_comparison
    from medfl.system.files import write_file

    plans.make_folder()
    found: list[Comparison] = []
    for value, plan in zip(plans.values, plans.sweeps, strict=True):
        if not as_json:
            errors.print(f"{plans.key} = {value} ({len(found) + 1} of {len(plans.values)})")
        try:
            found.append(make_comparison(plan, workers, quiet=as_json))
        except KeyboardInterrupt:
            errors.print(f"All values go on with: medfl resume {shlex.quote(str(plans.folder))}", soft_wrap=True)
            raise
    rows = [{plans.key: value, **row} for value, each in zip(plans.values, found, strict=True) for row in each.rows]
    comparisons = [
        {"value": value, "folder": plan.folder.name, **each.record}
        for value, plan, each in zip(plans.values, plans.sweeps, found, strict=True)
    ]
    record = {"vary": plans.key, "values": plans.values, "comparisons": comparisons}
    write_file(plans.folder / PATIENTS_FILE, format_rows(rows, plans.key).encode(), private=True)
    write_file(plans.folder / COMPARISON_FILE, json.dumps(record, indent=1).encode(), private=True)
    if as_json:
        print_json({"folder": str(plans.folder), **record})
    else:
        _print(plans, found)
    if not all(each.summaries for each in found):
        raise typer.Exit(1)


def _print(plans: VariedSweep, found: Sequence[Comparison]) -> None:
    output.print(_score_table(plans, found))
    for lines in _charts(plans, found):
        output.print("\n".join(lines), highlight=False, soft_wrap=True)
    for value, each in zip(plans.values, found, strict=True):
        for reason in [*each.record["failed"], *each.record["left_out"]]:
            output.print(f"{plans.key} = {value}: {reason}", style="red")
    output.print("Hospitals, and so test patients, may differ from value to value: intervals compare arms, not values.")
    output.print(f"Scores of each patient: {plans.folder / 'patients.csv'}", soft_wrap=True)


def _score_table(plans: VariedSweep, found: Sequence[Comparison]) -> Table:
    kind = plans.sweeps[0].study.task.kind
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(plans.key.rpartition(".")[2], overflow="fold")
    table.add_column("arm", overflow="fold")
    for heading in ("Dice" if kind == "segmentation" else "AUROC", "95 %", "patients", "steps", "images"):
        table.add_column(heading, justify="right", no_wrap=True)
    for value, comparison in zip(plans.values, found, strict=True):
        for k, each in enumerate(comparison.summaries):
            interval = "not known" if each.interval is None else f"{each.interval[0]:.3f} to {each.interval[1]:.3f}"
            counts = map(str, (each.patients, each.steps, each.samples))
            last = k == len(comparison.summaries) - 1
            table.add_row("" if k else str(value), each.title, f"{each.score:.3f}", interval, *counts, end_section=last)
    return table


def _charts(plans: VariedSweep, found: Sequence[Comparison]) -> list[list[str]]:
    """Return a chart in characters for each federated arm: what it is above the local models, with the interval, by value."""
    firsts = dict.fromkeys(each.first for one in found for each in one.differences if each.second == "local")
    return [_chart(plans, found, first) for first in firsts]


def _chart(plans: VariedSweep, found: Sequence[Comparison], first: str) -> list[str]:
    picked = [next((d for d in one.differences if (d.first, d.second) == (first, "local")), None) for one in found]
    ends = [abs(end) for each in picked if each for end in (each.difference, *(each.interval or ()))]
    widest, names = max([*ends, 1e-3]), [str(value) for value in plans.values]
    numbers = [_numbers(each) for each in picked]
    space = _TERMINAL - max(map(len, numbers)) - 2
    margin = min(max(map(len, names)), space - _FEWEST_CELLS)
    cells = min(_MOST_CELLS, space - margin)
    middle = (cells - 1) // 2
    title = [f"{first} minus local", f"with 95 % intervals; the middle is 0, the ends are ±{widest:.3f}"]
    rows = [
        line
        for name, each, told in zip(names, picked, numbers, strict=True)
        for line in _named_lines(name, margin, f"{_bar(each, widest, middle)} {told}")
    ]
    return [*title, *rows]


def _named_lines(name: str, margin: int, rest: str) -> list[str]:
    """Return a line with its name before it, above which stands what of a long name has no place there."""
    parts = textwrap.wrap(name, margin, break_on_hyphens=False)
    return [*(f"{part:>{margin}}" for part in parts[:-1]), f"{parts[-1]:>{margin}} {rest}"]


def _bar(each: ArmDifference | None, widest: float, middle: int) -> str:
    """Return the axis of one line of the chart, ``├──●──┤``, with its zero in the middle."""
    cells = [" "] * (2 * middle + 1)
    cells[middle] = "│"
    if each is None:
        return "".join(cells)
    if each.interval is not None:
        low, high = (middle + round(end / widest * middle) for end in each.interval)
        cells[low : high + 1] = ["─"] * (high + 1 - low)
        cells[low], cells[high] = "├", "┤"
    cells[middle + round(each.difference / widest * middle)] = "●"
    return "".join(cells)


def _numbers(each: ArmDifference | None) -> str:
    if each is None:
        return "not known"
    interval = "(no interval)" if each.interval is None else f"({each.interval[0]:+.3f} to {each.interval[1]:+.3f})"
    return f"{each.difference:+.3f} {interval}, {each.verdict}"
