"""Numbers of a report for machines: every table and chart of it, as JSON or as one CSV, unrounded where the number is known."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfl.report.formatting import format_score
from medfl.report.render import Bar, Figure, report_content
from medfl.report.report_data import ReportData
from medfl.report.tables import Table

CSV_COLUMNS = ("table", "row", "column", "number", "shown")
_TABLES = (
    "test",
    "classes",
    "external",
    "personal",
    "matrix",
    "contributions",
    "confusion",
    "used",
    "annotations",
    "excluded",
    "warnings",
    "rejected",
    "rounds",
)  # as the template of the report calls them
_FIGURES = ("score_curve", "loss_curve", "contribution_figure")


@dataclass(frozen=True)
class Entry:
    """One number or text of a report: its table, row and column, the number (nan for none), and the text that is shown."""

    table: str
    row: str
    column: str
    number: float
    shown: str


def report_entries(content: Mapping[str, Any]) -> list[Entry]:
    """Return every entry of the tables and charts of a report, in its order, given the result of `report_content`."""
    entries = [Entry("headlines", h.label, "value", h.number, h.value) for h in content["headlines"]]
    for name in _TABLES:
        entries += _table_entries(name, content[name]) if content[name] else ()
    entries += _bar_entries(content["bars"] or ())
    for name in _FIGURES:
        entries += _figure_entries(name, content[name]) if content[name] else ()
    for figure in content["rocs"] or ():
        entries += _figure_entries("roc", figure)
    return entries


def report_as_json(data: ReportData) -> dict[str, Any]:
    """Return what a report says, for JSON: what was run and how it ended, the verdict, and every entry by table and row."""
    content = report_content(data)
    tables: dict[str, list[dict[str, Any]]] = {}
    for entry in report_entries(content):
        number = None if math.isnan(entry.number) else entry.number
        about = {"row": entry.row, "column": entry.column, "number": number, "shown": entry.shown}
        tables.setdefault(entry.table, []).append(about)
    return {
        "study": data.study.name,
        "hash": data.about.get("hash"),
        "run": data.path.name,
        "status": data.status,
        "reason": data.reason,
        "started": data.about.get("started"),
        "ended": data.ended,
        "seconds": None if math.isnan(data.seconds) else data.seconds,
        "hospitals": sorted(data.joined),
        "external": sorted(data.external),
        "best-round": data.best_round,
        "verdict": content["verdict"],
        "lacking": content["lacking"],
        "tables": tables,
        "settings": dict(content["settings"]),
        "versions": dict(content["versions"]),
    }


def report_as_csv(content: Mapping[str, Any]) -> str:
    """Return every entry of a report as CSV with the columns table, row, column, number and shown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(
        (e.table, e.row, e.column, "" if math.isnan(e.number) else repr(e.number), e.shown) for e in report_entries(content)
    )
    return text.getvalue()


def _table_entries(name: str, table: Table) -> Iterator[Entry]:
    for row in table.rows:
        for column, cell in zip(table.columns[1:], row.cells, strict=True):
            yield Entry(name, row.head, column, cell.number, cell.text)


def _bar_entries(groups: Iterable[tuple[str, Sequence[Bar]]]) -> Iterator[Entry]:
    for site, bars in groups:
        yield from (Entry("bars", site, bar.name, bar.number, bar.text) for bar in bars)


def _figure_entries(name: str, figure: Figure) -> Iterator[Entry]:
    table = figure.heading if name == "roc" else name
    for line in figure.lines:
        yield from (Entry(table, line.name, f"{x:g}", y, format_score(y)) for x, y in line.points)
