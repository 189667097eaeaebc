"""What `medfl compare` prints: a table of the arms, and one line for each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from medfl.cli.console import output
from medfl.system.text import format_bytes

if TYPE_CHECKING:
    from medfl.evaluation.arm_differences import ArmDifference
    from medfl.evaluation.bootstrap import Interval
    from medfl.evaluation.strategy_comparison import ArmSummary


def print_comparison(summaries: Sequence[ArmSummary], differences: Sequence[ArmDifference], kind: str) -> None:
    """Print the table of the arms of a study of this kind of task, and what their differences tell."""
    output.print(_arm_table(summaries, kind))
    for each in differences:
        output.print(_sentence(each))


def _arm_table(summaries: Sequence[ArmSummary], kind: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("arm", overflow="fold")
    for heading in ("Dice" if kind == "segmentation" else "AUROC", "95 %", "seeds", "patients", "steps", "images", "sent"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in summaries:
        sent = format_bytes(each.bytes) if each.bytes else "–"
        counts = map(str, (each.seeds, each.patients, each.steps, each.samples))
        table.add_row(each.title, f"{each.score:.3f}", _interval(each.interval), *counts, sent)
    return table


def _sentence(each: ArmDifference) -> str:
    names = f"{each.first} against {each.second}"
    if each.interval is None:
        return f"{names}: not known; there are too few patients for an interval."
    p_value = "p not known" if each.p_value is None else "p < 0.001" if each.p_value < 0.001 else f"p = {each.p_value:.3f}"
    return f"{names}: {each.difference:+.3f} (95 % {_interval(each.interval)}; {p_value}), {each.verdict}."


def _interval(interval: Interval | None) -> str:
    return "not known" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
