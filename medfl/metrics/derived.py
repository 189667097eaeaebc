"""Readable scores, computed from the counts and means that sites send; nan where a score is not defined."""

from __future__ import annotations

import math
from collections.abc import Iterable

from medfl.messages.records import Metrics
from medfl.metrics.curves import auroc, average_precision, roc
from medfl.metrics.keys import (
    CALIBRATION_CONFIDENCE,
    CALIBRATION_CORRECT,
    CALIBRATION_COUNT,
    CONFUSION,
    COUNTS,
    MEANS,
    SURFACE,
    SURFACE_PATIENTS,
    class_key,
    class_keys,
    class_metric_key,
    get_number,
    get_numbers,
    hidden_key,
)
from medfl.study import Study


def has_surface_metrics(metrics: Metrics) -> bool:
    """Return whether HD95 and surface Dice were measured."""
    return bool(metrics.get(SURFACE_PATIENTS, 0))


def headline(study: Study, metrics: Metrics) -> float:
    """Return the score by which models are compared: mean foreground Dice, or AUROC. Higher is better; nan if undefined."""
    return derive(study, metrics)["dice" if study.task.kind == "segmentation" else "auroc"]


def derive(study: Study, metrics: Metrics) -> dict[str, float]:
    """Compute readable scores.

    Segmentation: ``dice``, ``hd95`` (mm; in 2-D pixels of the prepared image) and ``surface-dice``, each also per class
    (``dice.liver``; the mean is over the classes that are not hidden), and the patients in ``missed.<class>`` and
    ``false-positive.<class>``, at the sites that do not hide them. Classification: ``auroc``,
    ``average-precision``, ``sensitivity`` and ``specificity`` per class (one class against the rest), ``auroc`` and
    ``average-precision`` of the task (two classes: of the second; more: the mean over the classes that have both positives and
    negatives), ``accuracy``, ``balanced-accuracy`` (mean sensitivity over the classes that occur) and ``calibration-error``
    (expected calibration error of the top label, Guo et al. 2017).

    Parameters
    ----------
    study : Study
        Gives the kind of task and the classes.
    metrics : dict
        Metrics of a site, or merged ones.

    Returns
    -------
    dict of str to float
        Always the same keys; nan where nothing was measured, where only one class is present, or where it is hidden.
    """
    return _segmentation(study, metrics) if study.task.kind == "segmentation" else _classification(study, metrics)


def _segmentation(study: Study, metrics: Metrics) -> dict[str, float]:
    keys = class_keys(study.task.foreground)
    values: dict[str, float] = {}
    for metric in MEANS:
        measured = metric not in SURFACE or has_surface_metrics(metrics)
        visible = {key: measured and bool(metrics[class_metric_key("patients", key)]) for key in keys}
        each = {key: get_number(metrics, class_metric_key(metric, key)) if visible[key] else math.nan for key in keys}
        values[metric] = _mean_defined(each.values())
        values |= {f"{metric}.{key}": value for key, value in each.items()}
    for metric in COUNTS:
        for key in keys:
            count, hidden = get_number(metrics, class_metric_key(metric, key)), metrics[hidden_key(metric, key)]
            values[f"{metric}.{key}"] = math.nan if hidden and not count else count
    return values


def _classification(study: Study, metrics: Metrics) -> dict[str, float]:
    keys = class_keys(study.task.foreground)
    values: dict[str, float] = {}
    for metric, area in (("auroc", auroc), ("average-precision", average_precision)):
        each = [
            area(get_numbers(metrics, class_metric_key("positives", k)), get_numbers(metrics, class_metric_key("negatives", k)))
            for k in keys
        ]
        values[metric] = each[1] if len(keys) == 2 else _mean_defined(each)
        values |= {f"{metric}.{key}": value for key, value in zip(keys, each, strict=True)}
    matrix = confusion_matrix(metrics)
    total, hits = sum(map(sum, matrix)), sum(matrix[i][i] for i in range(len(matrix)))
    for i, key in enumerate(keys):
        true, predicted = sum(matrix[i]), sum(row[i] for row in matrix)
        values[f"sensitivity.{key}"] = _ratio(matrix[i][i], true)
        values[f"specificity.{key}"] = _ratio(total - true - predicted + matrix[i][i], total - true)
    values["accuracy"] = _ratio(hits, total)
    values["balanced-accuracy"] = _mean_defined(values[f"sensitivity.{key}"] for key in keys)
    values["calibration-error"] = _calibration_error(metrics)
    return values


def _calibration_error(metrics: Metrics) -> float:
    total = sum(get_numbers(metrics, CALIBRATION_COUNT))
    bins = zip(get_numbers(metrics, CALIBRATION_CONFIDENCE), get_numbers(metrics, CALIBRATION_CORRECT), strict=True)
    return _ratio(math.fsum(abs(confidence - correct) for confidence, correct in bins), total)


def confusion_matrix(metrics: Metrics) -> list[list[int]]:
    """Return the confusion matrix, a row for each true class and a column for each predicted one."""
    flat = [int(n) for n in get_numbers(metrics, CONFUSION)]
    width = math.isqrt(len(flat))
    return [flat[row * width : (row + 1) * width] for row in range(width)]


def roc_curve_points(metrics: Metrics, name: str) -> tuple[list[float], list[float]]:
    """Return the ROC curve of one class against the rest.

    Parameters
    ----------
    metrics : dict
        Metrics of a classification.
    name : str
        Class, as in the study.

    Returns
    -------
    fpr, tpr : list of float
        Rising from (0, 0) to (1, 1); empty when only one class is present.
    """
    key = class_key(name)
    return roc(
        get_numbers(metrics, class_metric_key("positives", key)), get_numbers(metrics, class_metric_key("negatives", key))
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _mean_defined(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
