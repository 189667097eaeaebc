"""Table of annotations: which hospital annotated which structure, and in how many patients each was scored."""

from __future__ import annotations

from medfl.metrics.keys import class_key, class_metric_key, hidden_key
from medfl.report.report_data import ReportData
from medfl.report.site_tests import SiteTest
from medfl.report.tables import Cell, Row, Table
from medfl.system.text import plural


def annotation_table(data: ReportData) -> Table | None:
    """Return one row for each hospital and one column for each structure; None where everybody annotated everything."""
    classes = data.study.task.foreground
    sites = [site for _, site in sorted(data.joined.items()) if site.annotated]
    if data.study.task.kind != "segmentation" or all(set(classes) <= set(site.annotated) for site in sites):
        return None
    tested = {t.site: t for t in data.site_tests}
    rows = [
        Row(s.name, tuple(_annotation_cell(name, name in s.annotated, tested.get(s.name)) for name in classes)) for s in sites
    ]
    counts = [(name, sum(name in site.annotated for site in sites)) for name in classes]
    total = tuple(
        Cell(f"{plural(count, 'hospital')}{_format_scored_patients(name, data.overall_test)}", "text") for name, count in counts
    )
    return Table(("Hospital", *classes), (*rows, Row("In all", total, css="total")))


def _annotation_cell(name: str, annotated: bool, tested: SiteTest | None) -> Cell:
    return (
        Cell(f"yes{_format_scored_patients(name, tested)}", "text")
        if annotated
        else Cell("no", "text none", title="unknown there")
    )


def _format_scored_patients(name: str, tested: SiteTest | None) -> str:
    """Say in how many test patients a structure was scored; nothing where that is hidden at any hospital."""
    key = class_key(name)
    if tested is None or tested.is_hidden("") or tested.metrics.get(hidden_key("scores", key), 0):
        return ""
    count = tested.metrics.get(class_metric_key("patients", key), 0)
    return f"; scored in {plural(count, 'test patient')}" if isinstance(count, int) and count else ""
