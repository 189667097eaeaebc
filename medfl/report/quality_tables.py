"""Rows, bars and charts of the report of a data check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from medfl.data.quality.facts import CaseFacts, SiteCheck
from medfl.errors import explain_code
from medfl.report.histograms import histogram
from medfl.report.overlays import CLASS_COLOURS
from medfl.system.text import plural

_SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}
_MAX_CLASSES = 6  # whose volumes get a chart of their own
_MAX_DEVICES = 12


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its text, its length in percent, its style, and a note."""

    name: str
    text: str
    percent: float
    css: str = ""
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, or bars, or, where all values are equal, that value as the note; with its heading."""

    heading: str
    drawn: Markup
    note: str = ""
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True)
class CaseRow:
    """One case as a row of the table; `voxels`, `coarsest` and `middle` are the numbers to sort by."""

    facts: CaseFacts
    size: str
    voxels: int
    spacing: str
    coarsest: float
    grey: str
    middle: float
    marked: str
    codes: tuple[str, ...]


def case_flow(check: SiteCheck) -> list[Bar]:
    """Return the cases found, those left out by reason, those usable, and those of each split, as bars."""
    total = max(1, len(check.cases))
    bars = [Bar("Found", plural(len(check.cases), "case"), 100.0 if check.cases else 0.0, "found")]
    for code, count in check.count_exclusions().items():
        bars.append(Bar(code, str(count), 100 * count / total, "out", explain_code(code)))
    bars.append(Bar("Usable", plural(len(check.usable), "case"), 100 * len(check.usable) / total, "usable"))
    for split, name in _SPLITS.items():
        cases = [case for case in check.usable if case.split == split]
        patients = plural(len({case.patient for case in cases}), "patient") if check.patient_ids else ""
        bars.append(Bar(name, str(len(cases)), 100 * len(cases) / total, "split", patients))
    return bars


def file_bars(check: SiteCheck) -> list[Bar]:
    """Return the files of the data folder by what becomes of them, as bars."""
    if check.files is None:
        return []
    total = max(1, check.files.total)
    rows = check.files.rows()
    return [Bar(words, str(count), 100 * min(1.0, count / total), "usable" if used else "found") for words, count, used in rows]


def case_rows(check: SiteCheck) -> list[CaseRow]:
    """Return one row for each case, those left out first."""
    return [_case_row(case, check) for case in (*check.left_out, *check.usable)]


def charts(check: SiteCheck) -> list[Chart]:
    """Return how the images of the usable cases differ: spacing, size, grey values, classes, devices."""
    cases = check.usable
    drawn = [
        _chart("Voxel size, finest axis", [min(c.spacing) for c in cases if c.spacing], "mm"),
        _chart("Voxel size, coarsest axis", [max(c.spacing) for c in cases if c.spacing], "mm"),
        _chart("Longest side", [float(max(c.size)) for c in cases if c.size], _size_unit(check)),
        _chart("Shortest side", [float(min(c.size)) for c in cases if c.size], _size_unit(check)),
        _chart("Median grey value", [c.intensity[2] for c in cases if c.intensity], "grey value of the first channel"),
        _chart("Bright grey value (99th percentile)", [c.intensity[4] for c in cases if c.intensity], "grey value"),
    ]
    return [chart for chart in [*drawn, _classes(check), *_volumes(check), _devices(check)] if chart]


def class_legend(check: SiteCheck) -> list[tuple[str, str]]:
    """Return the foreground classes of masks with their colours."""
    if check.task is None or check.task.kind != "segmentation" or not has_labels(check):
        return []
    names = check.task.foreground
    return [(name, "rgb({}, {}, {})".format(*CLASS_COLOURS[k % len(CLASS_COLOURS)])) for k, name in enumerate(names)]


def has_labels(check: SiteCheck) -> bool:
    """Return whether there is any label, or a study that says what to mark."""
    return bool(check.study or check.usable) or any(case.amounts for case in check.cases)


def format_marked_classes(case: CaseFacts, check: SiteCheck) -> str:
    """Return the classes of a case, and how much of each is marked."""
    task = check.task
    if task is None:
        return ""
    if task.kind == "classification":
        return ", ".join(task.classes[index] for index, _ in case.amounts)
    amounts = [(task.classes[index], amount) for index, amount in case.amounts]
    if task.dimension == 2:
        return ", ".join(f"{name}: {amount:.1%}" for name, amount in amounts)
    return ", ".join(f"{name}: {_format_volume(amount)} ml" for name, amount in amounts)


def _case_row(case: CaseFacts, check: SiteCheck) -> CaseRow:
    voxels = 1
    for count in case.size:
        voxels *= count
    return CaseRow(
        facts=case,
        size=" × ".join(map(str, case.size)),
        voxels=voxels if case.size else 0,
        spacing=" × ".join(f"{size:.3g}" for size in case.spacing),
        coarsest=max(case.spacing, default=0.0),
        grey=" / ".join(f"{case.intensity[k]:.4g}" for k in (0, 2, 4)) if case.intensity else "",
        middle=case.intensity[2] if case.intensity else 0.0,
        marked=format_marked_classes(case, check),
        codes=tuple(dict.fromkeys(finding.code for finding in case.findings)),
    )


def _format_volume(amount: float) -> str:
    return f"{amount:.3g}" if amount < 1000 else f"{amount:.0f}"


def _size_unit(check: SiteCheck) -> str:
    return "pixels" if check.task and check.task.dimension == 2 else "voxels"


def _chart(heading: str, values: Sequence[float], x_label: str, note: str = "") -> Chart | None:
    if not values:
        return None
    rounded = {float(f"{value:.3g}") for value in values}
    if len(rounded) == 1:
        unit = "" if "grey" in x_label else f" {x_label}"
        return Chart(heading, Markup(""), f"{rounded.pop():g}{unit}")
    return Chart(heading, histogram(heading, values, x_label), note)


def _classes(check: SiteCheck) -> Chart | None:
    if check.task is None or not check.usable or not any(case.amounts for case in check.usable):
        return None
    holding = Counter(index for case in check.usable for index, _ in case.amounts)
    total = len(check.usable)
    first = 1 if check.task.kind == "segmentation" else 0
    rows = [(name, holding[index]) for index, name in enumerate(check.task.classes) if index >= first]
    bars = tuple(Bar(name, str(count), 100 * count / total) for name, count in rows)
    what = "Cases in which something is marked as the class." if first else "Cases of each class."
    return Chart("Classes", Markup(""), what, bars)


def _volumes(check: SiteCheck) -> list[Chart | None]:
    task = check.task
    if task is None or task.kind != "segmentation":
        return []
    flat = task.dimension == 2
    charts = []
    for index, name in list(enumerate(task.classes))[1 : _MAX_CLASSES + 1]:
        amounts = [amount * (100 if flat else 1) for case in check.usable for k, amount in case.amounts if k == index]
        charts.append(_chart(f"{'Area' if flat else 'Volume'} of {name}", amounts, "% of the image" if flat else "ml"))
    return charts


def _devices(check: SiteCheck) -> Chart | None:
    seen = Counter(str(case.device) for case in check.usable if str(case.device))
    if not seen:
        return None
    total = len(check.usable)
    rows = seen.most_common(_MAX_DEVICES)
    bars = [Bar(name, str(count), 100 * count / total) for name, count in rows]
    rest = total - sum(count for _, count in rows)
    bars += [Bar("others, or not named", str(rest), 100 * rest / total)] if rest else []
    return Chart("Devices", Markup(""), "As the DICOM headers name them.", tuple(bars))
