"""Report of a run: tables, charts and pictures in one HTML file that loads nothing from the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from medfl.metrics import roc_curve_points
from medfl.report import contribution_tables, many_sites, provenance_tables, tables, verdict
from medfl.report.annotations import annotation_table
from medfl.report.charts import Line, legend, line_chart, roc_chart
from medfl.report.external_table import external_table
from medfl.report.formatting import format_error, format_score
from medfl.report.overlays import CLASS_COLOURS, Overlay, read_overlay
from medfl.report.report_data import Curve, ReportData
from medfl.report.site_tests import ALL_SITES, SiteTest
from medfl.report.templates import render_page
from medfl.system.text import NOT_AVAILABLE

NUMBERS_FILE = "report.csv"  # beside it, where it does not show every hospital
_MAX_BARS = 8  # hospitals; beyond, the matrix shows the same in less space
_MAX_EXAMPLES = 24  # pictures in one report


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, its legend, a sentence on it, and the lines that it draws."""

    heading: str
    chart: Markup
    legend: Markup
    note: str = ""
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Bar:
    """One bar of a comparison: its name, its text, its length in percent, its style, and its number, nan for none."""

    name: str
    text: str
    percent: float
    css: str
    number: float


def render(data: ReportData, content: dict[str, Any] | None = None) -> str:
    """Return the report as HTML. A part that cannot be made is left out, and named at the top of the page.

    Parameters
    ----------
    data : ReportData
        What was read of the run.
    content : dict, optional
        The result of `report_content`, if it is there already.
    """
    shown = many_sites.shorten(content or report_content(data), data, NUMBERS_FILE)
    return render_page("report.html.j2", ("report.css",), **shown)


def report_content(data: ReportData) -> dict[str, Any]:
    """Return all that a report shows, by the names that its template has for it."""
    parts, lacking = _make_parts(data)
    return parts | {
        "lacking": lacking,
        "numbers_file": "",
        "data": data,
        "study": data.study,
        "contribution": contribution_tables,
        "segmentation": data.study.task.kind == "segmentation",
        "score_name": verdict.score_name(data),
        "from_bins": _bins_sentence(data),
        "headlines": verdict.headlines(data),
        "verdict": verdict.verdict_sentences(data),
        "test": tables.test_table(data),
        "colours": list(zip(data.study.task.foreground, _class_colours(data), strict=True)),
        "used": provenance_tables.used_table(data),
        "excluded": provenance_tables.code_table(data, lambda site: site.excluded),
        "rejected": provenance_tables.rejected_table(data),
        "rounds": provenance_tables.rounds_table(data),
        "settings": provenance_tables.list_settings(data),
        "versions": provenance_tables.list_versions(data),
        "no_patient_ids": [site.name for _, site in sorted({**data.joined, **data.external}.items()) if not site.patient_ids],
    }


def _bins_sentence(data: ReportData) -> str:
    """Return how exact the scores of the comparison are, with a blank before it; empty for Dice."""
    bound = format_error(data.comparison.max_error, 2)
    return f" As they are computed from bins, each may be {bound} from that of the single scores." if bound else ""


def _make_parts(data: ReportData) -> tuple[dict[str, Any], list[str]]:
    """Return the parts of a report without which it is still worth reading, and the names of those that failed."""
    parts: dict[str, Any] = {}
    lacking: dict[str, None] = {}
    for key, (title, make) in _PARTS.items():
        try:
            parts[key] = make(data)
        except Exception as error:  # whatever fails in drawing, the numbers of a finished run are shown
            parts[key] = None
            lacking[f"{title} ({type(error).__name__})"] = None
    return parts, list(lacking)


def _curve_lines(data: ReportData, curves: Mapping[str, Curve]) -> list[Line]:
    lines = [Line("All hospitals together", curves[ALL_SITES], -1)] if ALL_SITES in curves and len(curves) != 2 else []
    return lines + [Line(site, curves[site], k) for k, site in enumerate(data.sites) if site in curves]


def _line_figure(
    data: ReportData, heading: str, title: str, lines: Sequence[Line], name: str, note: str = "", top: float | None = None
) -> Figure:
    """Return a chart over the rounds; of many hospitals it draws percentiles, and its numbers are those of all."""
    drawn = many_sites.few_lines(lines, data.sites)
    return Figure(heading, line_chart(title, drawn, name, top=top), legend(drawn), note, tuple(lines))


def _score_figure(data: ReportData) -> Figure | None:
    arm = next(iter(data.arms.values()), None) if "federated" not in data.arms else data.arms["federated"]
    if arm is None or not arm.scores:
        return None
    name = verdict.score_name(data)
    lines = _curve_lines(data, arm.scores)
    alone = data.arms.get("local")
    if alone is not arm and alone is not None and ALL_SITES in alone.scores:
        lines.append(
            Line("Trained alone, mean over hospitals", alone.scores[ALL_SITES], 23)
        )  # style 23: the last colour, widely dashed
    note = "Round 0 is the model before any training. Measured on validation patients, which also choose the best round."
    title = f"{name} on validation patients after each round"
    return _line_figure(data, f"{name} on validation patients", title, lines, name, note, top=1.0)


def _loss_figure(data: ReportData) -> Figure | None:
    arm = data.arms.get("federated") or next(iter(data.arms.values()), None)
    if arm is None or not arm.losses:
        return None
    lines = _curve_lines(data, arm.losses)
    note = "What training minimises, averaged over the round. Compare each line only with itself; lower is better."
    return _line_figure(data, "Training loss", "Training loss of each round", lines, "Loss", note)


def _contribution_figure(data: ReportData) -> Figure | None:
    lines = contribution_tables.contribution_lines(data)
    if not lines or len(data.contributions) < 2:
        return None
    name = "Cosine" if data.contributions[-1].method == "alignment" else verdict.score_name(data)
    return _line_figure(data, "Round by round", "What each hospital contributed in each round", lines, name)


def _roc_figures(data: ReportData) -> list[Figure]:
    if data.study.task.kind != "classification" or data.overall_test is None:
        return []
    classes = data.study.task.classes
    shown = classes[1:] if len(classes) == 2 else classes
    by_class = [line for k, name in enumerate(shown) if (line := _roc_line(data.overall_test, name, name, k))]
    figures = [_roc_figure("ROC over all test patients", by_class)]
    if len(classes) == 2:
        tests, heading = [t for t in data.site_tests if t.patients], "ROC by hospital"
        if len(tests) > many_sites.MAX_SITES:
            lowest = many_sites.lowest_sites([(t.site, verdict.test_score(data, t)) for t in tests])
            tests, heading = [t for t in tests if t.site in lowest], f"ROC of the {len(lowest)} hospitals with the lowest AUROC"
        by_site = [line for k, t in enumerate(tests) if (line := _roc_line(t, classes[1], t.site, k))]
        figures.append(_roc_figure(heading, by_site))
    return [figure for figure in figures if figure]


def _roc_figure(heading: str, lines: list[Line]) -> Figure | None:
    return Figure(heading, roc_chart(heading, lines), legend(lines), lines=tuple(lines)) if lines else None


def _roc_line(tested: SiteTest, class_name: str, name: str, style: int) -> Line | None:
    try:
        fpr, tpr = roc_curve_points(tested.metrics, class_name)
    except (KeyError, TypeError):
        return None
    return Line(name, list(zip(fpr, tpr, strict=True)), style) if fpr else None


def _comparison_bars(data: ReportData) -> list[tuple[str, list[Bar]]]:
    """Return the scores on the patients of each hospital: of the shared model, of its own, and of the other hospitals'."""
    comparison = data.comparison
    if not comparison.local or not 2 <= len(comparison.sites) <= _MAX_BARS:
        return []
    groups, hiding = [], tables.hiding_sites(data)
    for site in comparison.sites:
        others = [row[site] for owner, row in comparison.local.items() if owner != site and not math.isnan(row[site])]
        mean = math.fsum(others) / len(others) if others else math.nan
        own = comparison.local.get(site, {}).get(site, math.nan)
        values = [("Together", comparison.federated_by_site.get(site, math.nan), "together")]
        values += [("Its own model", own, "own"), ("Others’ models", mean, "others")]
        groups.append((site, [_make_bar(*each, is_hidden=site in hiding) for each in values]))
    return groups


def _make_bar(name: str, value: float, css: str, *, is_hidden: bool) -> Bar:
    if math.isnan(value):
        return Bar(name, "hidden" if is_hidden else NOT_AVAILABLE, 0, css, value)
    return Bar(name, format_score(value), 100 * min(max(value, 0), 1), css, value)


def _read_examples(data: ReportData) -> list[tuple[str, list[Overlay]]]:
    if data.study.task.kind != "segmentation" or not data.previews:
        return []
    previews = data.previews
    if len(previews) > _MAX_EXAMPLES:
        lowest = many_sites.lowest_sites([(t.site, verdict.test_score(data, t)) for t in data.site_tests if t.site in previews])
        previews = {site: previews[site] for site in lowest}
    per_site = _MAX_EXAMPLES // max(1, len(previews))
    dimension = data.study.task.dimension
    drawn = [(site, [read_overlay(path, dimension) for path in paths[:per_site]]) for site, paths in previews.items()]
    return [(site, readable) for site, overlays in drawn if (readable := [o for o in overlays if o is not None])]


def _class_colours(data: ReportData) -> list[str]:
    count = len(data.study.task.foreground)
    return ["rgb({}, {}, {})".format(*CLASS_COLOURS[k % len(CLASS_COLOURS)]) for k in range(count)]


_PARTS: Mapping[str, tuple[str, Callable[[ReportData], Any]]] = {
    "score_curve": ("the scores by round", _score_figure),
    "loss_curve": ("the training loss", _loss_figure),
    "classes": ("the test by class", tables.class_table),
    "external": ("the external hospitals", external_table),
    "personal": ("the personal models", tables.personal_table),
    "contributions": ("the contributions", contribution_tables.contribution_table),
    "contribution_figure": ("the contributions by round", _contribution_figure),
    "bars": ("the comparison by hospital", _comparison_bars),
    "matrix": ("the cross-site matrix", tables.matrix_table),
    "rocs": ("the ROC curves", _roc_figures),
    "confusion": ("the confusion matrix", tables.confusion_table),
    "examples": ("the examples", _read_examples),
    "annotations": ("who annotated what", annotation_table),
    "warnings": ("the warnings", lambda data: provenance_tables.code_table(data, lambda site: site.warnings)),
}
