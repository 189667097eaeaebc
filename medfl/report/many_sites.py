"""What a report shows of more hospitals than anybody reads rows of: percentiles, and the ten to look at first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medfl.report import provenance_tables
from medfl.report.charts import Line
from medfl.report.report_data import ReportData
from medfl.report.tables import Cell, Row, Table
from medfl.report.verdict import score_name

MAX_SITES = 40  # rows of a table, or lines of a chart, that a reader can take in
SHOWN = 10  # hospitals that are shown out of more
_PERCENTILES = (
    ("Minimum", 0.0),
    ("10th percentile", 0.1),
    ("25th percentile", 0.25),
    ("Median", 0.5),
    ("75th percentile", 0.75),
    ("90th percentile", 0.9),
    ("Maximum", 1.0),
)
_LINES = (("90th percentile of the hospitals", 0.9), ("Median of the hospitals", 0.5), ("10th percentile", 0.1))


def shows_part(data: ReportData) -> bool:
    """Say whether there are so many hospitals that the page shows a part of them only."""
    return len({*data.sites, *data.joined}) > MAX_SITES


def shorten(content: dict[str, Any], data: ReportData, numbers_file: str) -> dict[str, Any]:
    """Return what a report shows, with the tables of many hospitals shortened.

    Parameters
    ----------
    content : dict
        All that there is to show.
    data : ReportData
        What it was made from.
    numbers_file : str
        Name of the file with every number of every hospital.
    """
    if not shows_part(data):
        return content
    score = score_name(data)
    short = content | {
        "numbers_file": numbers_file,
        "test": _shorten_table(content["test"], 1, f"the lowest {score}"),
        "personal": _shorten_table(content["personal"], 3, "the least gain by its personal model"),
        "contributions": _shorten_table(content["contributions"], 0, "the lowest contribution"),
        "used": _shorten_table(content["used"], 1, "the most cases left out", highest=True),
        "annotations": _shorten_annotations(content["annotations"]),
        "excluded": provenance_tables.code_table(data, lambda site: site.excluded, most_sites=SHOWN),
        "warnings": provenance_tables.code_table(data, lambda site: site.warnings, most_sites=SHOWN),
        "matrix": content["matrix"] if len(data.comparison.sites) <= MAX_SITES else None,
    }
    if len(data.rejected) > MAX_SITES:
        short["rejected"] = provenance_tables.grouped_rejected_table(data, SHOWN)
    return short


def few_lines(lines: Sequence[Line], sites: Sequence[str]) -> list[Line]:
    """Return lines of which those of many hospitals are replaced by their percentiles, round by round."""
    names = set(sites)
    single = [line for line in lines if line.name in names]
    if len(single) <= MAX_SITES:
        return list(lines)
    values: dict[int, list[float]] = {}
    for line in single:
        for x, y in line.points:
            if not math.isnan(y):
                values.setdefault(int(x), []).append(y)
    ordered = {x: sorted(found) for x, found in sorted(values.items())}
    spread = [
        Line(name, [(x, found[_rank(len(found), share)]) for x, found in ordered.items()], k)
        for k, (name, share) in enumerate(_LINES)
    ]
    return [line for line in lines if line.name not in names] + spread


def lowest_sites(values: Sequence[tuple[str, float]]) -> list[str]:
    """Return the names of the ten hospitals with the lowest values, the lowest first; those without a value are passed over."""
    known = sorted((value, site) for site, value in values if not math.isnan(value))
    return [site for _, site in known[:SHOWN]]


def _shorten_table(table: Table | None, column: int, what: str, *, highest: bool = False) -> Table | None:
    """Return the percentiles of every column, the ten hospitals that one column says to look at, and the sums."""
    rows = [row for row in table.rows if row.css != "total"] if table else []
    if table is None or len(rows) <= MAX_SITES:
        return table
    known = [row for row in rows if not math.isnan(row.cells[column].number)]
    known.sort(key=lambda row: row.cells[column].number, reverse=highest)
    spread = [Row(name, _percentile_cells(rows, share), css="percentile") for name, share in _PERCENTILES]
    totals = [row for row in table.rows if row.css == "total"]
    note = (
        f"Percentiles are over {len(rows)} hospitals, of each column by itself. Below them are the {min(SHOWN, len(known))} "
        f"hospitals with {what}."
    )
    return replace(table, rows=(*spread, *known[:SHOWN], *totals), note=note)


def _percentile_cells(rows: Sequence[Row], share: float) -> tuple[Cell, ...]:
    return tuple(_percentile_cell([row.cells[k] for row in rows], share) for k in range(len(rows[0].cells)))


def _percentile_cell(cells: Sequence[Cell], share: float) -> Cell:
    """Return the cell of the hospital at a percentile, whose text is exact; an empty one where no number is known."""
    known = sorted((cell for cell in cells if not math.isnan(cell.number)), key=lambda cell: cell.number)
    return replace(known[_rank(len(known), share)], title="") if known else Cell("", "num none")


def _rank(count: int, share: float) -> int:
    return round(share * (count - 1))


def _shorten_annotations(table: Table | None) -> Table | None:
    rows = [row for row in table.rows if row.css != "total"] if table else []
    if table is None or len(rows) <= MAX_SITES:
        return table
    fewest = sorted(rows, key=lambda row: sum(cell.css != "text none" for cell in row.cells))[:SHOWN]
    note = f"Of {len(rows)} hospitals, the {len(fewest)} that annotated the fewest structures."
    return replace(table, rows=(*fewest, *(row for row in table.rows if row.css == "total")), note=note)
