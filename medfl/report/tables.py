"""Tables of results: the test by hospital, the cross-site matrix, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from medfl.metrics import class_key, confusion_matrix
from medfl.report.formatting import format_difference, format_error, format_score, length_unit
from medfl.report.report_data import ReportData
from medfl.report.site_tests import SiteTest
from medfl.report.verdict import score_name, test_error, test_score
from medfl.system.text import NOT_AVAILABLE


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its style ("num", "text", "none"), its heat 0..1 (below 0: none), its tooltip, and the number in it.

    The number is not rounded; nan where the text holds none, or one that is no more than a bound.
    """

    text: str
    css: str = "num"
    heat: float = -1.0
    title: str = ""
    number: float = math.nan


@dataclass(frozen=True)
class Row:
    """One row: its name, its cells, its style, a mark beside its name, and the file that its name leads to."""

    head: str
    cells: tuple[Cell, ...]
    css: str = ""
    mark: str = ""
    address: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first of its columns holds the names of the rows. A note says which rows are shown, if not all are."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    note: str = ""

    def split_columns(self) -> tuple[Table, ...]:
        """Return tables of these columns that are narrow enough for paper, each with the names of the rows."""
        count = len(self.columns) - 1
        parts = math.ceil(count / _PAPER_COLUMNS)
        starts = [round(k * count / parts) for k in range(parts + 1)] if parts else [0, 0]
        return tuple(self._columns_between(first, last) for first, last in pairwise(starts))

    def _columns_between(self, first: int, last: int) -> Table:
        rows = tuple(replace(row, cells=row.cells[first:last]) for row in self.rows)
        return Table((self.columns[0], *self.columns[first + 1 : last + 1]), rows, self.caption)


_PAPER_COLUMNS = 9  # beside the names of the rows, on a sheet of A4 or Letter
HIDDEN_NOTE = "the hospital’s policy does not disclose it, or not about so few patients"
_BINS_NOTE = "smaller than what the bins of the AUROC can show"
_PARTIAL_NOTE = "without what some hospitals’ policies hide"


@dataclass(frozen=True)
class Column:
    """One number of a test: its name, the derived values that it sums, and the metrics that say whether it is hidden."""

    name: str
    keys: tuple[str, ...]
    hidden: Sequence[str]

    def cell(self, tested: SiteTest) -> Cell:
        """Return the number for one hospital, or for all."""
        values = [value for key in self.keys if not math.isnan(value := tested.derived.get(key, math.nan))]
        hidden = any(tested.is_hidden(name) for name in self.hidden)
        counted = self.keys[0].split(".")[0] in ("missed", "false-positive")
        if not values or (hidden and counted and not any(values)):
            hidden = hidden or tested.is_hidden("")
            return Cell("hidden", "num none", title=HIDDEN_NOTE) if hidden else _make_cell(NOT_AVAILABLE)
        total = math.fsum(values)
        text = _value_formatter(self.keys[0].split(".")[0])(total)
        text = " ".join(filter(None, (text, format_error(tested.errors.get(self.keys[0], 0.0)))))
        if hidden and counted:
            return Cell(f"at least {text}", title=_PARTIAL_NOTE)
        return Cell(text, title=_PARTIAL_NOTE if hidden else "", number=total)


def test_table(data: ReportData) -> Table | None:
    """Return the test of the shared model by hospital; the lowest score is marked where it is sure which it is."""
    if not data.site_tests or data.overall_test is None:
        return None
    columns = _columns(data)
    lowest = data.comparison.federated_lowest
    told = sum(not tested.hides_scores() for tested in data.site_tests)
    marked = lowest.sites if lowest and told > len(lowest.sites) == 1 else ()
    rows = [_test_row(data, t, t.site, columns, lowest=t.site in marked) for t in data.site_tests]
    if len(data.site_tests) > 1:
        rows.append(_test_row(data, data.overall_test, _together(data.site_tests), columns))
    return Table(("Hospital", "Test patients", *(column.name for column in columns)), tuple(rows))


def _together(tests: Sequence[SiteTest]) -> str:
    """Return what the row of all hospitals together is called, which leaves out what is hidden."""
    return "All whose scores are told" if any(tested.hides_scores() for tested in tests) else "All patients"


def personal_table(data: ReportData) -> Table | None:
    """Return the test of the shared model beside that of each hospital's personal model, on its own patients."""
    if not data.personal_tests:
        return None
    shared, name = {t.site: t for t in data.site_tests}, score_name(data)
    rows = [_personal_row(data, shared[personal.site], personal, personal.site) for personal in data.personal_tests]
    # an AUROC over the outputs of several models would compare scores on different scales
    if len(rows) > 1 and data.overall_test and data.overall_personal_test and data.study.task.kind == "segmentation":
        head = _together(data.personal_tests)
        rows.append(_personal_row(data, data.overall_test, data.overall_personal_test, head))
    return Table(("Hospital", "Test patients", f"{name}, shared model", f"{name}, personal model", "Difference"), tuple(rows))


def class_table(data: ReportData) -> Table | None:
    """Return the test of the shared model by class, over all hospitals; None where it would repeat the test by hospital."""
    together, classes = data.overall_test, data.study.task.foreground
    if together is None or not together.patients or len(classes) < 2:
        return None
    if data.study.task.kind == "classification" and len(classes) == 2:
        return None  # one class mirrors the other, and the table by hospital shows it
    if data.study.task.kind == "segmentation":
        metrics = [("Dice", "dice"), (f"HD95, {length_unit(data.study)}", "hd95"), ("Surface Dice", "surface-dice")]
        metrics += [("Missed", "missed"), ("False positive", "false-positive")]
    else:
        metrics = [("AUROC", "auroc"), ("Average precision", "average-precision")]
        metrics += [("Sensitivity", "sensitivity"), ("Specificity", "specificity")]
    rows = []
    for name in classes:
        columns = [Column(label, (_metric_key(metric, name),), [_hidden_key(metric, name)]) for label, metric in metrics]
        rows.append(Row(name, tuple(column.cell(together) for column in columns)))
    return Table(("Class", *(label for label, _ in metrics)), tuple(rows))


def matrix_table(data: ReportData) -> Table | None:
    """Return the cross-site matrix: every hospital's own model, and the shared one, on the test patients of every hospital."""
    comparison = data.comparison
    if not comparison.local:
        return None
    values = [
        v for row in (*comparison.local.values(), comparison.federated_by_site) for v in row.values() if not math.isnan(v)
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)

    hiding = hiding_sites(data)

    def cells(row: Mapping[str, float], owner: str) -> tuple[Cell, ...]:
        return tuple(
            _heat_cell(row.get(site, math.nan), low, high, is_own=site == owner, is_hidden=site in hiding)
            for site in comparison.sites
        )

    rows = [Row(f"{owner} alone", cells(row, owner)) for owner, row in comparison.local.items()]
    if any(not math.isnan(v) for v in comparison.federated_by_site.values()):
        rows.append(Row("Together", cells(comparison.federated_by_site, ""), css="total"))
    return Table(("Model", *(f"{site}’s patients" for site in comparison.sites)), tuple(rows))


def hiding_sites(data: ReportData) -> set[str]:
    """Return the hospitals whose policies hide the scores of every model on their patients."""
    return {tested.site for tested in data.site_tests if tested.hides_scores()}


def confusion_table(data: ReportData) -> Table | None:
    """Return the confusion matrix over the test patients of all hospitals, shaded by the share of the true class."""
    if data.study.task.kind != "classification" or data.overall_test is None or not data.overall_test.patients:
        return None
    classes, matrix = data.study.task.classes, _read_confusion(data.overall_test)
    if len(matrix) != len(classes) or not any(map(sum, matrix)):
        return None
    rows = []
    for name, counts in zip(classes, matrix, strict=True):
        total = sum(counts)
        shares = [count / total if total else 0.0 for count in counts]
        cells = tuple(Cell(str(n), heat=s, title=f"{s:.0%} of {name}", number=n) for n, s in zip(counts, shares, strict=True))
        rows.append(Row(name, (*cells, Cell(str(total), number=total))))
    hiding = data.overall_test.metrics.get("eval.confusion-hidden", 0)
    caption = f"{hiding} of the hospitals are not in it: their policies hide so few wrong predictions." if hiding else ""
    return Table(("Truth", *(f"called {name}" for name in classes), "In all"), tuple(rows), caption)


def _read_confusion(tested: SiteTest) -> list[list[int]]:
    try:
        return confusion_matrix(tested.metrics)
    except (KeyError, TypeError):
        return []


def _columns(data: ReportData) -> list[Column]:
    return _segmentation_columns(data) if data.study.task.kind == "segmentation" else _classification_columns(data)


def _segmentation_columns(data: ReportData) -> list[Column]:
    classes = data.study.task.foreground
    scores, unit = [f"scores-hidden.{class_key(name)}" for name in classes], length_unit(data.study)
    columns = [Column("Dice", ("dice",), scores)]
    if len(classes) > 1:
        columns += [Column(f"Dice, {name}", (_metric_key("dice", name),), [h]) for name, h in zip(classes, scores, strict=True)]
    columns += [Column(f"HD95, {unit}", ("hd95",), scores), Column("Surface Dice", ("surface-dice",), scores)]
    for label, metric in (("Missed", "missed"), ("False positive", "false-positive")):
        hidden = [f"{metric}-hidden.{class_key(name)}" for name in classes]
        summed = tuple(_metric_key(metric, name) for name in classes)
        columns.append(Column(label if len(classes) == 1 else f"{label}, all classes", summed, hidden))
    return columns


def _classification_columns(data: ReportData) -> list[Column]:
    classes = data.study.task.classes
    scores, decisions = [f"scores-hidden.{class_key(name)}" for name in classes], ["confusion-hidden"]
    columns = [Column("AUROC", ("auroc",), scores), Column("Average precision", ("average-precision",), scores)]
    columns.append(Column("Balanced accuracy", ("balanced-accuracy",), decisions))
    if len(classes) == 2:  # of two classes, the second is the finding
        named = [
            ("Sensitivity", _metric_key("sensitivity", classes[1])),
            ("Specificity", _metric_key("specificity", classes[1])),
        ]
    else:
        named = [(f"Sensitivity, {name}", _metric_key("sensitivity", name)) for name in classes]
    columns += [Column(label, (key,), decisions) for label, key in named]
    columns.append(Column("Calibration error", ("calibration-error",), ["calibration-hidden"]))
    return columns


def _hidden_key(metric: str, name: str) -> str:
    if metric in ("sensitivity", "specificity"):
        return "confusion-hidden"
    return _metric_key(f"{metric}-hidden" if metric in ("missed", "false-positive") else "scores-hidden", name)


def _metric_key(metric: str, name: str) -> str:
    return f"{metric}.{class_key(name)}"


def _value_formatter(metric: str) -> Callable[[float], str]:
    if metric == "hd95":
        return lambda value: format_score(value, 1)
    return (lambda value: format_score(value, 0)) if metric in ("missed", "false-positive") else format_score


def _test_row(data: ReportData, tested: SiteTest, head: str, columns: Sequence[Column], *, lowest: bool = False) -> Row:
    css = "lowest" if lowest else "" if tested.site else "total"
    if not tested.patients:
        if tested.is_hidden(""):
            hidden = (Cell("hidden", "num none", title=HIDDEN_NOTE) for _ in columns)
            return Row(head, (Cell("hidden", "none", title=HIDDEN_NOTE), *hidden), css)
        patients = Cell("0", "none", title="no patient was scored", number=0)
        return Row(head, (patients, *(_make_cell(NOT_AVAILABLE) for _ in columns)), css)
    cells = (
        Cell(str(tested.patients), title=_PARTIAL_NOTE if tested.is_hidden("") else "", number=tested.patients),
        *(column.cell(tested) for column in columns),
    )
    return Row(head, cells, css, f"lowest {score_name(data)}" if lowest else "")


def _personal_row(data: ReportData, shared: SiteTest, personal: SiteTest, head: str) -> Row:
    column = _columns(data)[0]
    row = _test_row(data, shared, head, [column])
    gain = test_score(data, personal) - test_score(data, shared)
    error = test_error(data, personal) + test_error(data, shared)
    if 0 < abs(gain) <= error and (bound := format_error(error)):
        return Row(head, (*row.cells, column.cell(personal), Cell(f"within {bound}", title=_BINS_NOTE)), row.css)
    return Row(head, (*row.cells, column.cell(personal), _make_cell(format_difference(gain, 3), gain)), row.css)


def _make_cell(text: str, number: float = math.nan) -> Cell:
    if text == NOT_AVAILABLE:
        return Cell(text, "num none", title="not defined here, or not measured")
    return Cell(text, number=number)


def _heat_cell(value: float, low: float, high: float, *, is_own: bool, is_hidden: bool) -> Cell:
    if math.isnan(value):
        return Cell("hidden", "num none", title=HIDDEN_NOTE) if is_hidden else _make_cell(NOT_AVAILABLE)
    heat = (value - low) / (high - low) if high > low else 1.0
    return Cell(format_score(value, 2), "num own" if is_own else "num", heat, "its own patients" if is_own else "", value)
