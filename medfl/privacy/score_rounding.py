"""Rounding of scores: a mean over patients leaves in steps that its number of patients supports, and no finer.

How many different values there can be is how much a score can tell whoever chose the model: `count_values` is that number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from medfl.messages.records import EVAL_LOSS, EVAL_PATIENTS, Metrics
from medfl.metrics.keys import (
    LOSS_HIDDEN,
    MEANS,
    SUPPRESSED_DIGITS,
    SURFACE,
    SURFACE_PATIENTS,
    class_keys,
    class_metric_key,
    get_number,
)
from medfl.study import Study

_MAX_STEPS = 1000  # of the range of a score
_STEPS_BY_PATIENT = 10
_SIGNIFICANT_DIGITS = 3


def count_values(patients: int) -> int:
    """Return how many values a rounded mean over patients can have.

    Examples
    --------
    >>> count_values(24), count_values(5000)
    (241, 1001)
    """
    return min(_MAX_STEPS, _STEPS_BY_PATIENT * max(patients, 1)) + 1


def round_score(value: float, limit: float, patients: int) -> float:
    """Round a mean over patients to the steps of its range.

    Parameters
    ----------
    value : float
        The mean; one that is not finite counts as the limit.
    limit : float
        Upper end of the range, which begins at 0.
    patients : int
        Patients behind the mean.

    Returns
    -------
    float
        The nearest of `count_values` values, written with three decimals.

    Examples
    --------
    >>> round_score(0.6243, limit=1.0, patients=24), round_score(0.6243, limit=1.0, patients=500)
    (0.625, 0.624)
    """
    steps = count_values(patients) - 1
    share = min(max(value / limit, 0.0), 1.0) if math.isfinite(value) else 1.0
    return round(round(share * steps) / steps * limit, SUPPRESSED_DIGITS)


def round_training_loss(value: float, limit: float, patients: int) -> float:
    """Round a training loss as a score, but never to 0: strategies divide by it, and one step says how small it may be.

    Examples
    --------
    >>> round_training_loss(0.0001, limit=2.0, patients=500)
    0.002
    """
    least = max(round(limit / (count_values(patients) - 1), SUPPRESSED_DIGITS), math.pow(10.0, -SUPPRESSED_DIGITS))
    return max(round_score(value, limit, patients), least)


def count_trained(study: Study, patients: int) -> int:
    """Return how many of a site's patients a round trains on at most: a study that counts in steps may take but a few.

    Parameters
    ----------
    study : Study
        Gives steps and batch size.
    patients : int
        Training patients of the site.
    """
    steps = study.training.local_steps
    return min(patients, steps * study.training.batch_size) if steps else patients


def round_number(value: float) -> float:
    """Round a number of unknown range to three significant digits.

    Examples
    --------
    >>> round_number(1234.5), round_number(0.00012345)
    (1230.0, 0.000123)
    """
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def list_means(study: Study, metrics: Metrics) -> Iterator[tuple[str, float, int]]:
    """Yield the means over patients of an evaluation that are not hidden: the key, the upper end of the range, the patients."""
    patients = int(get_number(metrics, EVAL_PATIENTS))
    if patients and not metrics[LOSS_HIDDEN]:
        yield EVAL_LOSS, study.max_loss, patients
    if study.task.kind != "segmentation":
        return
    measured = [metric for metric in MEANS if metric not in SURFACE or metrics[SURFACE_PATIENTS]]
    for name in class_keys(study.task.foreground):
        behind = int(get_number(metrics, class_metric_key("patients", name)))
        for metric in measured if behind else ():
            yield class_metric_key(metric, name), study.max_distance if metric == "hd95" else 1.0, behind
