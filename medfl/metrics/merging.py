"""Merging of the metrics of several sites, exact and independent of the order of the sites."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medfl.errors import ExchangeError
from medfl.messages.records import EVAL_PATIENTS, Metrics, MetricValue
from medfl.metrics.classification import classification_metrics
from medfl.metrics.keys import (
    HIDDEN,
    LOSS_HIDDEN,
    MEANS,
    SURFACE,
    SURFACE_HIDDEN,
    SURFACE_PATIENTS,
    class_metric_key,
    get_number,
    get_numbers,
)
from medfl.metrics.segmentation import segmentation_metrics
from medfl.study import Study

# 1: the mean of a site does not leave in this exchange; not in what an earlier version recorded
_LATER_FLAGS: Metrics = {LOSS_HIDDEN: 0, SURFACE_HIDDEN: 0}


def empty_metrics(study: Study) -> Metrics:
    """Return the metrics of an evaluation without patients: every key of a reply, with the value zero.

    Parameters
    ----------
    study : Study
        Determines the keys.
    """
    classes = study.task.foreground
    if study.task.kind == "segmentation":
        return segmentation_metrics([], classes, 0.0)
    return classification_metrics([], [], np.zeros((0, len(classes))), classes, 0.0)


def check(study: Study, metrics: Metrics) -> None:
    """Check that metrics of a site have the form that the study asks for, before they are counted.

    Raises
    ------
    ExchangeError
        ``METRICS-MISMATCH`` when a key is absent, of another type or length, not finite, or a count is negative.
    """
    for key, model in empty_metrics(study).items():
        if not _has_form(metrics.get(key, _LATER_FLAGS.get(key)), model):
            raise ExchangeError(
                "METRICS-MISMATCH",
                f"the metric {key!r} of a reply is absent or not of the form that the study asks for.",
                "Both sides must run the same study and the same version of medfl.",
            )


def _has_form(value: MetricValue | None, model: MetricValue) -> bool:
    if isinstance(model, list):
        if not isinstance(value, list) or len(value) != len(model):
            return False
        return all(_has_form(v, m) for v, m in zip(value, model, strict=True))
    if isinstance(model, int):
        return isinstance(value, int) and value >= 0
    return isinstance(value, int | float) and math.isfinite(value)  # one NaN would make the mean of all sites NaN


def merge(study: Study, parts: Sequence[Metrics]) -> Metrics:
    """Merge the evaluations of several sites into one of all their patients.

    Counts and histograms are summed, means are weighted by the patients behind them. What a site's policy hides does not count,
    as if it had no such patients, and the keys that end in ``hidden`` count the sites that hide it. Sites without patients are
    left out, and the order of the sites does not change a bit of the result.

    Parameters
    ----------
    study : Study
        Determines the keys.
    parts : sequence of dict
        Metrics of the sites; keys outside the evaluation are left alone and not returned.

    Returns
    -------
    dict
        The keys of `empty_metrics`.

    Raises
    ------
    ExchangeError
        ``METRICS-MISMATCH``, see `check`.
    """
    for part in parts:
        check(study, part)
    counted = [_LATER_FLAGS | part for part in parts if part[EVAL_PATIENTS]]
    merged = {key: _fold(key, model, counted) for key, model in empty_metrics(study).items()}
    return merged | {HIDDEN: int(sum(get_number(part, HIDDEN) for part in parts))}


def _fold(key: str, model: MetricValue, parts: Sequence[Metrics]) -> MetricValue:
    if isinstance(model, list):
        columns = list(zip(*(get_numbers(part, key) for part in parts), strict=True)) or [()] * len(model)
        if any(isinstance(m, float) for m in model):
            return [math.fsum(column) for column in columns]
        return [int(sum(column)) for column in columns]
    if isinstance(model, int):
        return int(sum(get_number(part, key) for part in parts))
    pairs = [(_patient_weight(part, key), get_number(part, key)) for part in parts if _patient_weight(part, key)]
    total = math.fsum(w for w, _ in pairs)
    return math.fsum(w * value for w, value in pairs) / total if total else 0.0


def _patient_weight(part: Metrics, key: str) -> float:
    """Return the number of patients behind a mean of one site."""
    metric, _, name = key.removeprefix("eval.").partition(".")
    if metric not in MEANS:
        return 0.0 if part[LOSS_HIDDEN] else get_number(part, EVAL_PATIENTS)
    if metric in SURFACE and not part[SURFACE_PATIENTS]:
        return 0.0
    return get_number(part, class_metric_key("patients", name))
