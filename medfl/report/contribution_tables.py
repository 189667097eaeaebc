"""Contribution of each hospital: its value by round and in all, what it cost to measure, and what the number means."""

from __future__ import annotations

import math
from collections.abc import Iterable

from medfl.report.charts import Line
from medfl.report.formatting import format_difference, format_score
from medfl.report.report_data import ReportData
from medfl.report.round_contributions import RoundContribution
from medfl.report.tables import Cell, Row, Table
from medfl.report.verdict import score_name
from medfl.system.text import format_bytes, format_duration, plural

_PATIENTS = "on the validation patients of all hospitals"
_LIMITS = "It holds for the measured rounds and the patients of these hospitals, and is not a price."
_MEANINGS = {
    "alignment": (
        "The cosine says whether a hospital’s update points the same way as the others’ (1: the same way, 0: at a right angle, "
        "−1: the opposite way); the share of movement is the length of its update times its weight, as a part of all such "
        "lengths. Neither is a measure of worth: the update of a hospital with rare patients points elsewhere, and may be "
        "the one that the model needs."
    ),
    "leave-one-out": (
        "A value is the {score} that the model of a round loses without the reply of a hospital, {patients}. Below zero, the "
        "model is better without it. If two hospitals have similar patients, each seems to contribute nothing, as the other "
        "makes up for it. {limits}"
    ),
    "shapley": (
        "A value is the {score} that a hospital adds to the model of a round, {patients}, averaged over all orders in which "
        "the hospitals could join; the values of a round add up to its gain. Small values may be chance where the score is "
        "over few patients. {limits}"
    ),
}


def meaning(data: ReportData) -> str:
    """Return what the numbers mean and what they do not."""
    return _MEANINGS[data.contributions[-1].method].format(score=score_name(data), patients=_PATIENTS, limits=_LIMITS)


def cost(data: ReportData) -> str:
    """Return what it cost to measure them."""
    models = sum(m.models for m in data.contributions)
    seconds = format_duration(math.fsum(m.seconds for m in data.contributions))
    rounds = plural(len(data.contributions), "round")
    if not models:
        return f"Measured in {rounds} from the replies alone, in {seconds} at the server."
    sent = format_bytes(math.fsum(m.bytes_down for m in data.contributions))
    return (
        f"Measured in {rounds}: every hospital scored {plural(models, 'further model')}, {sent} sent to them in all, {seconds}."
    )


def contribution_table(data: ReportData) -> Table | None:
    """Return one row for each hospital; None when nothing was measured."""
    if not data.contributions:
        return None
    sites = sorted({site for measured in data.contributions for site in measured.values})
    if data.contributions[-1].method == "alignment":
        return Table(
            ("Hospital", "Cosine, mean over the rounds", "Lowest", "Share of movement, mean", "Rounds"),
            tuple(_alignment_row(data.contributions, site) for site in sites),
        )
    rows = [_value_row(site, _defined_values(data.contributions, site)) for site in sites]
    if data.contributions[-1].method == "shapley":
        rows.append(_value_row("All hospitals", [m.gain for m in data.contributions if not math.isnan(m.gain)], "total"))
    return Table(("Hospital", "Sum over the rounds", "Mean of a round", "Last", "Rounds"), tuple(rows))


def contribution_lines(data: ReportData) -> list[Line]:
    """Return the value of each hospital over the rounds."""
    curves = {site: [(m.round, m.values[site]) for m in data.contributions if site in m.values] for site in data.sites}
    defined = {site: [(x, y) for x, y in points if not math.isnan(y)] for site, points in curves.items()}
    return [Line(site, defined[site], k) for k, site in enumerate(data.sites) if defined[site]]


def _defined_values(measured: Iterable[RoundContribution], site: str) -> list[float]:
    return [m.values[site] for m in measured if not math.isnan(m.values.get(site, math.nan))]


def _alignment_row(measured: Iterable[RoundContribution], site: str) -> Row:
    values = _defined_values(measured, site)
    shares = [m.shares[site] for m in measured if not math.isnan(m.shares.get(site, math.nan))]
    lowest = min(values, default=math.nan)
    cells = (
        Cell(format_difference(_mean(values)), number=_mean(values)),
        Cell(format_difference(lowest), number=lowest),
        Cell(format_score(_mean(shares), 2), number=_mean(shares)),
        Cell(str(len(values)), number=len(values)),
    )
    return Row(site, cells)


def _value_row(name: str, values: list[float], css: str = "") -> Row:
    numbers = (math.fsum(values), _mean(values), values[-1]) if values else (math.nan,) * 3
    cells = (
        *(Cell(format_difference(number, 3), number=number) for number in numbers),
        Cell(str(len(values)), number=len(values)),
    )
    return Row(name, cells, css=css)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
