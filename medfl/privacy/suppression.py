"""Suppression of small counts in an evaluation: no number that leaves is about 1 to k - 1 patients.

Numbers that a difference would reveal are suppressed too: the patients without a finding where they are few, or the one class
that the others leave over. Decimals are rounded to three digits. Score histograms keep their sums, but neighbouring bins are
merged until each holds k patients, into the bin where these lie on average: the AUROC of a site
of 100 patients changes by about 0.01 with k = 5 and 0.03 with k = 10, of 400 patients by less than 0.005
(`tests/privacy/test_suppression.py`). Different groupings of the same patients (histograms of several classes, calibration
bins) are not checked against each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from medfl.messages.records import EVAL_PATIENTS, Metrics, MetricValue
from medfl.metrics.curves import mirror
from medfl.metrics.keys import (
    CALIBRATION_CONFIDENCE,
    CALIBRATION_CORRECT,
    CALIBRATION_COUNT,
    CALIBRATION_HIDDEN,
    CONFUSION,
    CONFUSION_HIDDEN,
    COUNTS,
    DENOMINATORS,
    HIDDEN,
    MEANS,
    SUPPRESSED_DIGITS,
    class_metric_key,
    get_number,
    get_numbers,
    hidden_key,
)


def suppress(metrics: Metrics, k: int) -> Metrics:
    """Suppress what is about few patients, as the policy of the site asks.

    Parameters
    ----------
    metrics : dict
        Metrics of one reply.
    k : int
        Smallest number of patients that may leave; 0 switches the rule off.

    Returns
    -------
    dict
        The same keys. A suppressed value is zero, and its key that ends in ``hidden`` is 1: ``eval.hidden`` for everything,
        ``eval.scores-hidden.<class>`` for a class, and so on.
    """
    patients = int(get_number(metrics, EVAL_PATIENTS))
    if not k or not patients:
        return dict(metrics)
    if patients < k:
        return metrics | suppress_all({key: value for key, value in metrics.items() if key.startswith("eval.")})
    result = _classification(metrics, k) if CONFUSION in metrics else _segmentation(metrics, k, patients)
    return {key: _round_value(value) if key.startswith("eval.") else value for key, value in result.items()}


def suppress_all(scores: Metrics) -> Metrics:
    """Return the scores of a reply with every value suppressed."""
    return {key: zero_like(value) for key, value in scores.items()} | {HIDDEN: 1}


def hide_number(value: MetricValue) -> MetricValue:
    """Return what stands for a number of training that may not leave: every site must send the same keys."""
    if isinstance(value, list):
        return [0.0 for _ in value]
    return 0 if isinstance(value, int) else math.nan


def _segmentation(metrics: Metrics, k: int, patients: int) -> Metrics:
    result = dict(metrics)
    for key in _classes(metrics, "patients"):
        annotated, present = _count(metrics, "patients", key), _count(metrics, "present", key)
        missed, false_positive = _count(metrics, "missed", key), _count(metrics, "false-positive", key)
        few_missed = _has_small(k, missed, present - missed)
        few_false = _has_small(k, false_positive, annotated - present - false_positive)
        # without any overlap the mean Dice is the share of correct empty predictions, and would reveal the false positives
        revealed = few_false and missed == present
        if revealed or _has_small(k, annotated, patients - annotated, present, annotated - present):
            names = [class_metric_key(metric, key) for metric in (*MEANS, *DENOMINATORS, *COUNTS)]
            result |= {name: zero_like(metrics[name]) for name in names}
            result |= {hidden_key(what, key): 1 for what in ("scores", *COUNTS)}
            continue
        for name, few in zip(COUNTS, (few_missed, few_false), strict=True):
            result |= {class_metric_key(name, key): 0, hidden_key(name, key): 1} if few else {}
    return result


def _classification(metrics: Metrics, k: int) -> Metrics:
    keys = _classes(metrics, "positives")
    sizes = [int(sum(get_numbers(metrics, class_metric_key("positives", key)))) for key in keys]
    hidden = _hidden_classes(sizes, k)
    result = dict(metrics)
    for index, key in enumerate(keys):
        for side in ("positives", "negatives"):
            counts = [] if index in hidden else _group_counts(get_numbers(metrics, class_metric_key(side, key)), k)
            result[class_metric_key(side, key)] = counts or zero_like(metrics[class_metric_key(side, key)])
        result[hidden_key("scores", key)] = int(index in hidden)
    if len(keys) == 2:  # one class is the mirror image of the other; two groupings of it would reveal differences
        for side, other in (("positives", "negatives"), ("negatives", "positives")):
            result[class_metric_key(side, keys[0])] = mirror(
                [int(n) for n in get_numbers(result, class_metric_key(other, keys[1]))]
            )
    if hidden or _has_small(k, *get_numbers(metrics, CONFUSION)):
        result |= {CONFUSION: [0] * len(keys) ** 2, CONFUSION_HIDDEN: 1}
    return result | _calibration(metrics, k)


def _hidden_classes(sizes: Sequence[int], k: int) -> set[int]:
    """Return the classes that are few or nearly all, and further ones until the visible ones do not reveal their sizes."""
    total = sum(sizes)
    hidden = {index for index, size in enumerate(sizes) if _has_small(k, size, total - size)}
    while _has_small(k, sum(sizes[index] for index in hidden)) and len(hidden) < len(sizes):
        shown = [index for index in range(len(sizes)) if index not in hidden]
        hidden.add(min(shown, key=lambda index: (sizes[index] == 0, sizes[index])))
    return hidden


def _group_counts(counts: Sequence[float], k: int) -> list[int]:
    """Merge neighbouring bins so that none holds 1 to k - 1; return an empty list where even all together are too few."""
    groups = _group_bins([counts], k)
    result = [0] * len(counts)
    for start, stop in groups or []:
        inside = counts[start:stop]
        result[_mean_bin(inside, start)] = int(sum(inside))
    return [] if groups is None else result


def _calibration(metrics: Metrics, k: int) -> Metrics:
    count, confidence, correct = (
        get_numbers(metrics, key) for key in (CALIBRATION_COUNT, CALIBRATION_CONFIDENCE, CALIBRATION_CORRECT)
    )
    bins = len(count)
    groups = _group_bins([count, correct, [n - right for n, right in zip(count, correct, strict=True)]], k)
    counts, sums, rights = [0] * bins, [0.0] * bins, [0] * bins
    for start, stop in groups or []:
        middle = _mean_bin(count[start:stop], start)
        counts[middle], sums[middle], rights[middle] = (
            int(sum(count[start:stop])),
            sum(confidence[start:stop]),
            int(sum(correct[start:stop])),
        )
    merged: Metrics = {CALIBRATION_COUNT: counts, CALIBRATION_CONFIDENCE: sums, CALIBRATION_CORRECT: rights}
    return merged | {CALIBRATION_HIDDEN: int(groups is None)}


def _group_bins(columns: Sequence[Sequence[float]], k: int) -> list[tuple[int, int]] | None:
    """Return runs of bins, as short as possible, in which no column sums to 1 to k - 1; None where there is no such run."""
    ends = [0]
    width = len(columns[0])
    for stop in range(1, width + 1):
        sums = [sum(column[ends[-1] : stop]) for column in columns]
        if any(sums) and not _has_small(k, *sums):
            ends.append(stop)
    while any(rest := [sum(column[ends[-1] :]) for column in columns]):
        if not _has_small(k, *rest):
            ends.append(width)
        elif len(ends) == 1:
            return None
        else:
            ends.pop()  # the last run takes the rest
    return list(pairwise(ends))


def _mean_bin(counts: Sequence[float], start: int) -> int:
    """Return the bin in which the entries of a run lie on average."""
    return start + round(sum(index * n for index, n in enumerate(counts)) / sum(counts))


def _has_small(k: int, *counts: float) -> bool:
    return any(0 < count < k for count in counts)


def _count(metrics: Metrics, metric: str, key: str) -> int:
    return int(get_number(metrics, class_metric_key(metric, key)))


def _classes(metrics: Metrics, metric: str) -> list[str]:
    prefix = class_metric_key(metric, "")
    return [key.removeprefix(prefix) for key in metrics if key.startswith(prefix)]


def zero_like(value: MetricValue) -> MetricValue:
    """Return a score of zero of the form of another."""
    if isinstance(value, list):
        return [0.0] * len(value) if any(isinstance(v, float) for v in value) else [0] * len(value)
    return type(value)(0)


def _round_value(value: MetricValue) -> MetricValue:
    if isinstance(value, list):
        return [round(v, SUPPRESSED_DIGITS) for v in value] if any(isinstance(v, float) for v in value) else value
    return round(value, SUPPRESSED_DIGITS) if isinstance(value, float) else value
