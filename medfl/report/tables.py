"""Tables of results: the test by hospital, the cross-site matrix, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medfl.metrics import class_key, confusion_matrix
from medfl.report.model import ReportData, Tested
from medfl.report.verdict import score_name
from medfl.report.words import NONE, length_unit, score


@dataclass(frozen=True)
class Cell:
    """One cell: its text, how it looks ("num", "text", "none"), its heat 0..1 (below 0: none), and a word on it."""

    text: str
    css: str = "num"
    heat: float = -1.0
    title: str = ""


@dataclass(frozen=True)
class Row:
    """One row: its name, its cells, how it looks, and a mark beside its name."""

    head: str
    cells: tuple[Cell, ...]
    css: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table with the names of its columns (the first is that of the rows' names)."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""


Column = tuple[str, Callable[[Mapping[str, float]], str]]


def test_table(data: ReportData) -> Table | None:
    """Return the test of the shared model by hospital, with the worst one marked."""
    if not data.tested or data.together is None:
        return None
    columns = _segmentation(data) if data.study.task.kind == "segmentation" else _classification(data)
    worst = data.comparison.federated_worst[0] if data.comparison.federated_worst and len(data.tested) > 1 else None
    rows = [_tested_row(data, t, t.site, columns, worst=t.site == worst) for t in data.tested]
    if len(data.tested) > 1:
        rows.append(_tested_row(data, data.together, "All patients", columns))
    return Table(("Hospital", "Test patients", *(name for name, _ in columns)), tuple(rows))


def class_table(data: ReportData) -> Table | None:
    """Return the test of the shared model by class, over the patients of all hospitals; none where it would repeat."""
    together, classes = data.together, data.study.task.foreground
    if together is None or not together.patients or len(classes) < 2:
        return None
    if data.study.task.kind == "classification" and len(classes) == 2:
        return None  # one class mirrors the other, and the table by hospital tells it
    if data.study.task.kind == "segmentation":
        named = [("Dice", "dice"), (f"HD95, {length_unit(data.study)}", "hd95"), ("Surface Dice", "surface-dice")]
        named += [("Missed", "missed"), ("False positive", "false-positive")]
    else:
        named = [("AUROC", "auroc"), ("Average precision", "average-precision")]
        named += [("Sensitivity", "sensitivity"), ("Specificity", "specificity")]
    rows = [Row(c, tuple(_cell(_format(m)(_value(together.derived, m, c))) for _, m in named)) for c in classes]
    return Table(("Class", *(name for name, _ in named)), tuple(rows))


def matrix_table(data: ReportData) -> Table | None:
    """Return the cross-site matrix: every hospital's own model, and the shared one, on the test patients of every hospital."""
    found = data.comparison
    if not found.local:
        return None
    values = [v for row in (*found.local.values(), found.federated_by_site) for v in row.values() if not math.isnan(v)]
    low, high = min(values, default=0.0), max(values, default=1.0)

    def cells(row: Mapping[str, float], own: str) -> tuple[Cell, ...]:
        return tuple(_heat(row.get(site, math.nan), low, high, own=site == own) for site in found.sites)

    rows = [Row(f"{owner} alone", cells(row, owner)) for owner, row in found.local.items()]
    if any(not math.isnan(v) for v in found.federated_by_site.values()):
        rows.append(Row("Together", cells(found.federated_by_site, ""), css="total"))
    return Table(("Model", *(f"{site}’s patients" for site in found.sites)), tuple(rows))


def confusion_table(data: ReportData) -> Table | None:
    """Return the confusion matrix over the test patients of all hospitals, shaded by the share of the true class."""
    if data.study.task.kind != "classification" or data.together is None or not data.together.patients:
        return None
    classes, matrix = data.study.task.classes, _matrix(data.together)
    if len(matrix) != len(classes):
        return None
    rows = []
    for name, counts in zip(classes, matrix, strict=True):
        total = sum(counts)
        shares = [count / total if total else 0.0 for count in counts]
        cells = tuple(Cell(str(n), heat=s, title=f"{s:.0%} of {name}") for n, s in zip(counts, shares, strict=True))
        rows.append(Row(name, (*cells, Cell(str(total)))))
    return Table(("Truth", *(f"called {name}" for name in classes), "In all"), tuple(rows))


def _matrix(tested: Tested) -> list[list[int]]:
    try:
        return confusion_matrix(tested.metrics)
    except (KeyError, TypeError):
        return []


def _segmentation(data: ReportData) -> list[Column]:
    classes = data.study.task.foreground
    columns = [_column("Dice", "dice", None)]
    if len(classes) > 1:
        columns += [_column(f"Dice, {name}", "dice", name) for name in classes]
    columns += [_column(f"HD95, {length_unit(data.study)}", "hd95", None), _column("Surface Dice", "surface-dice", None)]
    for label, metric in (("Missed", "missed"), ("False positive", "false-positive")):
        columns.append(_summed(label if len(classes) == 1 else f"{label}, all classes", metric, classes))
    return columns


def _classification(data: ReportData) -> list[Column]:
    classes = data.study.task.classes
    columns = [_column("AUROC", "auroc", None), _column("Average precision", "average-precision", None)]
    columns.append(_column("Balanced accuracy", "balanced-accuracy", None))
    if len(classes) == 2:  # of two classes, the second is the finding
        columns += [_column("Sensitivity", "sensitivity", classes[1]), _column("Specificity", "specificity", classes[1])]
    else:
        columns += [_column(f"Sensitivity, {name}", "sensitivity", name) for name in classes]
    columns.append(_column("Calibration error", "calibration-error", None))
    return columns


def _column(label: str, metric: str, name: str | None) -> Column:
    return label, lambda derived: _format(metric)(_value(derived, metric, name))


def _summed(label: str, metric: str, classes: Sequence[str]) -> Column:
    return label, lambda derived: _format(metric)(math.fsum(_value(derived, metric, name) for name in classes))


def _value(derived: Mapping[str, float], metric: str, name: str | None) -> float:
    return derived.get(metric if name is None else f"{metric}.{class_key(name)}", math.nan)


def _format(metric: str) -> Callable[[float], str]:
    if metric == "hd95":
        return lambda value: score(value, 1)
    return (lambda value: score(value, 0)) if metric in ("missed", "false-positive") else score


def _tested_row(data: ReportData, tested: Tested, head: str, columns: Sequence[Column], *, worst: bool = False) -> Row:
    css = "worst" if worst else "" if tested.site else "total"
    if not tested.patients:
        joined = data.joined.get(tested.site)
        withheld = joined is None or joined.patients.get("test", 0) > 0
        why = "too few to be told under the hospital’s policy, or not scored" if withheld else "it has no test patients"
        return Row(head, (Cell("withheld" if withheld else "0", "none", title=why), *(_cell(NONE) for _ in columns)), css)
    cells = (Cell(str(tested.patients)), *(_cell(write(tested.derived)) for _, write in columns))
    return Row(head, cells, css, f"lowest {score_name(data)}" if worst else "")


def _cell(text: str) -> Cell:
    return Cell(text, "num none", title="not defined here, or not measured") if text == NONE else Cell(text)


def _heat(value: float, low: float, high: float, *, own: bool) -> Cell:
    if math.isnan(value):
        return Cell(NONE, "num none", title="not defined here, or withheld")
    heat = (value - low) / (high - low) if high > low else 1.0
    return Cell(score(value, 2), "num own" if own else "num", heat, "its own patients" if own else "")
