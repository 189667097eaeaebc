"""Figures of the page of a comparison: learning curves, ROC curves with bands, reliability, and the distribution of Dice."""

from __future__ import annotations

import math

import numpy as np

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats
from medfl.evaluation.calibration import Calibration
from medfl.evaluation.roc_bands import GRID, average_roc
from medfl.report.box_chart import Box, box_chart
from medfl.report.charts import Band, Line, legend, line_chart, share_chart
from medfl.report.comparison_data import ComparisonData
from medfl.report.comparison_patients import patient_values
from medfl.report.comparison_words import format_ci
from medfl.report.formatting import format_score
from medfl.report.render import Figure
from medfl.report.site_tests import ALL_SITES
from medfl.report.tables import Cell, Row, Table

_MOST_ARMS = 6  # each with a figure of its own


def learning_figure(data: ComparisonData) -> Figure | None:
    """Draw the score on validation patients by round of each arm, mean over the seeds that reached it."""
    lines = []
    for arm in data.arms:
        curves = [dict(history.scores.get(ALL_SITES, ())) for history in data.histories(arm)]
        rounds = sorted(set.intersection(*map(set, curves))) if curves else []
        points = [(float(r), math.fsum(curve[r] for curve in curves) / len(curves)) for r in rounds]
        if points:
            lines.append(Line(arm.title, points, data.style(arm.title)))
    if not lines:
        return None
    title = f"{data.score_name} on validation patients after each round"
    note = (
        "Round 0 is the model before any training (fine-tuned: the shared one). The arm local is the mean over the hospitals’ "
        "models, each on its own validation patients. These patients choose the best round; they are not those of the test."
    )
    chart = line_chart(title, lines, data.score_name, top=1.0)
    return Figure(title, chart, legend(lines), note, tuple(lines))


def roc_figures(data: ComparisonData) -> list[Figure]:
    """Draw for each arm its ROC curve with a band, and the first arm's beside it."""
    if data.study.task.kind != "classification":
        return []
    found = {}
    for arm in data.arms[:_MOST_ARMS]:
        tests = data.tests.get(arm.title, ())
        of_hospitals = [[test.by_hospital[h] for test in tests if h in test.by_hospital] for h in data.hospitals]
        only = [[test for test in each if isinstance(test, ClassifiedPatients)] for each in of_hospitals if each]
        if band := average_roc(only):
            found[arm.title] = band
    reference = next(iter(found), "")
    figures = []
    for title, band in found.items():
        lines = [_roc_line(title, band.sensitivity, data.style(title))]
        if title != reference:
            lines.append(_roc_line(reference, found[reference].sensitivity, data.style(reference)))
        bands = [] if band.low is None or band.high is None else [Band(GRID.tolist(), band.low.tolist(), band.high.tolist(), 0)]
        name = f"ROC curve of {title}"
        chart = share_chart(name, lines, "1 − specificity", "Sensitivity", bands=bands)
        figures.append(Figure(name, chart, legend(lines), lines=tuple(lines)))
    return figures


def reliability_figures(data: ComparisonData) -> list[Figure]:
    """Draw for each arm how often it is right, by how sure it is."""
    figures = []
    for arm in data.arms[:_MOST_ARMS]:
        if arm.calibration is None:
            continue
        lines = [Line(arm.title, [(b.confidence, b.accuracy) for b in arm.calibration.bins], data.style(arm.title))]
        name = f"Reliability of {arm.title}"
        chart = share_chart(name, lines, "Confidence", "Share that is right", dots=True)
        figures.append(Figure(name, chart, legend(lines), _calibration_note(arm.calibration), lines=tuple(lines)))
    return figures


def _calibration_note(found: Calibration) -> str:
    error = f"{format_score(found.ece)} ({format_ci(found.ece_interval)})"
    brier = f"{format_score(found.brier)} ({format_ci(found.brier_interval)})"
    return (
        f"Expected calibration error {error}; on so few patients, a model that is perfectly calibrated would show "
        f"{format_score(found.ece_if_calibrated)}. Brier score {brier}."
    )


def dice_figure(data: ComparisonData) -> tuple[Figure, Table] | None:
    """Draw the distribution of the patients' Dice in each arm, and return it as a table."""
    if data.study.task.kind != "segmentation":
        return None
    boxes, rows = [], []
    for arm in data.arms:
        values = sorted(patient_values(data.tests.get(arm.title, ()), data.hospitals).values())
        if not values:
            continue
        quantiles = [float(q) for q in np.quantile(values, (0, 0.05, 0.25, 0.5, 0.75, 1))]
        lowest, _, first, median, third, highest = quantiles
        boxes.append(Box(arm.title, (lowest, first, median, third, highest), tuple(values)))
        cells = (Cell(str(len(values)), number=len(values)), *(Cell(format_score(q), number=q) for q in quantiles))
        rows.append(Row(arm.title, cells))
    if not boxes:
        return None
    chart = box_chart("Distribution of the patients’ Dice in each arm", boxes, "Dice of a patient, mean over classes and seeds")
    note = "Box: the middle half of the patients, with the median; line: from the lowest to the highest; each dot is a patient."
    columns = ("Arm", "Patients", "Lowest", "5 %", "25 %", "Median", "75 %", "Highest")
    return Figure("Dice of single patients", chart, legend([]), note), Table(columns, tuple(rows))


def _roc_line(title: str, sensitivity: Floats, style: int) -> Line:
    return Line(title, [(0.0, 0.0), *zip(GRID.tolist(), sensitivity.tolist(), strict=True)], style)
