"""Report of a data check: one HTML file for the site alone, which loads nothing from the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import medfl
from medfl.data.layouts.table_description import describe_column
from medfl.data.quality.class_balance import count_classes
from medfl.data.quality.facts import SiteCheck
from medfl.errors import explain_code
from medfl.messages import counts
from medfl.report import quality_tables
from medfl.report.disclosure import Disclosure
from medfl.report.templates import render_page
from medfl.report.thumbnails import draw_thumbnail
from medfl.site import Site
from medfl.system.files import write_private
from medfl.system.text import plural

MAX_THUMBNAILS = 48  # cases with pictures in one report
_MAX_OPEN_FINDINGS = 60  # with more, the list starts folded
_SPLITS = ("train", "validation", "test")


def write_quality_report(path: Path, check: SiteCheck, shared: Disclosure, site: Site) -> Path:
    """Write the report of a check with mode 0600, replacing an older one.

    Parameters
    ----------
    path : Path
        The HTML file.
    check : SiteCheck
        What was found.
    shared : Disclosure
        What the server would see.
    site : Site
        Site whose policy is shown.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        When it cannot be written.
    """
    return write_private(path, render_quality(check, shared, site).encode())


def render_quality(check: SiteCheck, shared: Disclosure, site: Site) -> str:
    """Return the report of a check as HTML."""
    styles, context = ("report.css", "quality.css"), _context(check, shared, site)
    return render_page("quality.html.j2", styles, ("quality.js",), **context)


def _context(check: SiteCheck, shared: Disclosure, site: Site) -> dict[str, Any]:
    pictured = [case for case in check.cases if case.planes]
    findings, charts = check.all_findings, quality_tables.charts(check)
    return {
        "check": check,
        "shared": shared,
        "policy": site.policy,
        "meaning": explain_code,
        "format_count": counts.format_count,
        "version": medfl.__version__,
        "flow": quality_tables.case_flow(check),
        "file_bars": quality_tables.file_bars(check),
        "balance": count_classes(check.cases, check.task),
        "describe_column": describe_column,
        "codes": check.count_findings(),
        "findings": findings,
        "open": len(findings) <= _MAX_OPEN_FINDINGS,
        "rows": quality_tables.case_rows(check),
        "charts": [chart for chart in charts if chart.drawn or chart.bars],
        "same": [chart for chart in charts if not chart.drawn and not chart.bars],
        "thumbnails": [draw_thumbnail(case, quality_tables.format_marked_classes(case, check)) for case in pictured],
        "legend": quality_tables.class_legend(check),
        "labelled": quality_tables.has_labels(check),
        "files": any(case.kind == "image" for case in pictured),
        "headlines": _headlines(check),
        "splits": [
            (name, _format_split_count(shared, name, "patients"), _format_split_count(shared, name, "cases"))
            for name in _SPLITS
        ],
    }


def _format_split_count(shared: Disclosure, split: str, what: str) -> str:
    count = shared.numbers[f"join.{split}-{what}"]
    return counts.format_count(int(count)) if isinstance(count, int) else str(count)


def _headlines(check: SiteCheck) -> list[tuple[str, str, str]]:
    total = len(check.cases)
    usable, left_out = len(check.usable), len(check.left_out)
    patients = {case.patient for case in check.usable}
    share = f"{left_out / total:.0%} of the {plural(total, 'case')} found" if left_out else "none of those found"
    splits = [sum(case.split == name for case in check.usable) for name in _SPLITS]
    split_counts = f"{splits[0]} to train, {splits[1]} to validate, {splits[2]} to test"
    ids = "by the ids in the data" if check.patient_ids else "the data has none: one image counts as one patient"
    return [
        ("Cases usable", str(usable), split_counts if usable else check.readable_summary()),
        ("Cases left out", str(left_out), share if total else "none was found"),
        ("Patients with a usable case", str(len(patients)), ids),
    ]
