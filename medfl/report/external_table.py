"""Table of the test at external hospitals: one row for each arm."""

from __future__ import annotations

from medfl.report.external_tests import ExternalTest
from medfl.report.formatting import format_score
from medfl.report.report_data import ReportData
from medfl.report.tables import Cell, Row, Table
from medfl.report.verdict import score_name
from medfl.study.arms import ARM_TITLES
from medfl.system.text import NOT_AVAILABLE


def external_table(data: ReportData) -> Table | None:
    """Return the score of each arm over the patients of all external hospitals, and at each; None where there are none."""
    if not data.external_tests:
        return None
    sites = sorted({site for test in data.external_tests for site in test.patients})
    single = sites if len(sites) > 1 else []
    rows = tuple(_row(test, single) for test in data.external_tests)
    return Table(("Model", "Patients", score_name(data), "95 %", *single), rows)


def _row(test: ExternalTest, sites: list[str]) -> Row:
    title = ARM_TITLES.get(test.arm, test.arm)
    title = title[:1].upper() + title[1:]
    head = f"{title}, mean of {test.models} models" if test.models > 1 else title
    patients = sum(test.patients.values())
    interval = " to ".join(map(format_score, test.interval)) if test.interval else NOT_AVAILABLE
    cells = [Cell(str(patients), number=patients), _score_cell(test.score), Cell(interval)]
    return Row(head, (*cells, *(_score_cell(test.by_site.get(site, float("nan"))) for site in sites)))


def _score_cell(score: float) -> Cell:
    return Cell(format_score(score), number=score)
