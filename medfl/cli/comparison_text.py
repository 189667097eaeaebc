"""What `medfl compare` prints: tables of the arms, and one line for each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from medfl.cli.console import output
from medfl.evaluation.arm_differences import MIN_PATIENTS
from medfl.system.text import format_bytes

if TYPE_CHECKING:
    from medfl.evaluation.arm_differences import ArmDifference
    from medfl.evaluation.bootstrap import Interval
    from medfl.evaluation.strategy_comparison import ArmSummary


def print_comparison(summaries: Sequence[ArmSummary], differences: Sequence[ArmDifference], kind: str) -> None:
    """Print the tables of the arms of a study of this kind of task, and what their differences tell."""
    output.print(_score_table(summaries, "Dice" if kind == "segmentation" else "AUROC"))
    output.print(_work_table(summaries))
    if any(each.subgroups for each in summaries):
        output.print(_subgroup_table(summaries))
    for each in differences:
        output.print(_sentence(each))
        if each.margin is not None:
            output.print(_non_inferiority(each, summaries[0].patients))
    if any(each.needed for each in differences):
        output.print("About N test patients would tell, if the difference is what it looks like.")


def _score_table(summaries: Sequence[ArmSummary], score: str) -> Table:
    table = _table(score, "95 %", "seed sd", "lowest hospital", "95 % of it")
    for each in summaries:
        lowest = each.lowest_hospital
        table.add_row(
            each.title,
            f"{each.score:.3f}",
            _interval(each.interval),
            "not known" if each.seed_sd is None else f"{each.seed_sd:.3f}",
            f"{lowest.score:.3f} {lowest.hospital}" if lowest else "–",
            _interval(lowest.joint_interval) if lowest else "–",
        )
    return table


def _work_table(summaries: Sequence[ArmSummary]) -> Table:
    calibrated = any(each.calibration for each in summaries)
    table = _table("seeds", "patients", "steps", "images", "sent", *(("ECE", "Brier") if calibrated else ()))
    for each in summaries:
        sent = format_bytes(each.bytes) if each.bytes else "–"
        quality = (f"{each.calibration.ece:.3f}", f"{each.calibration.brier:.3f}") if each.calibration else ()
        table.add_row(each.title, *map(str, (each.seeds, each.patients, each.steps, each.samples)), sent, *quality)
    return table


def _subgroup_table(summaries: Sequence[ArmSummary]) -> Table:
    """Return the score of every arm, one row for each group of patients."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("patients", overflow="fold")
    for each in summaries:
        table.add_column(each.title, justify="right", overflow="fold")
    for of_group in zip(*(each.subgroups for each in summaries), strict=True):
        one = of_group[0]
        table.add_row(f"{one.column}: {one.value} ({one.patients})", *(f"{each.score:.3f}" for each in of_group))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("arm", overflow="fold")
    for heading in headings:
        of_hospital = heading == "lowest hospital"
        table.add_column(heading, justify="left" if of_hospital else "right", no_wrap=not of_hospital, overflow="fold")
    return table


def _sentence(each: ArmDifference) -> str:
    names = f"{each.first} – {each.second}"
    if each.interval is None:
        return f"{names} not known: there are too few patients for an interval."
    p_value = "p not known" if each.p_value is None else "p < 0.001" if each.p_value < 0.001 else f"p = {each.p_value:.3f}"
    numbers = f"{each.difference:+.3f} ({_interval(each.interval)}), {p_value}"
    if each.verdict != "not known":
        return f"{each.first} is {each.verdict} than {each.second}: {numbers}"
    margin = " for the margin" if each.needed and each.needed.to_find == "margin" else ""
    return f"{names} not known: {numbers}" + (f"; N {each.needed.patients}{margin}" if each.needed else "")


def _non_inferiority(each: ArmDifference, patients: int) -> str:
    if each.not_inferior:
        return f"{each.first} is not inferior to {each.second} by more than {each.margin:g}."
    few = f", with fewer than {MIN_PATIENTS} test patients" if patients < MIN_PATIENTS else ""
    return f"{each.first} not inferior to {each.second} by more than {each.margin:g}: not shown{few}."


def _interval(interval: Interval | None) -> str:
    return "not known" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
