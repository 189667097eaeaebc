"""Bounds of the error that histograms bring into AUROC and average precision.

Scores of one bin are ties, though the scores behind them may not be. Over all orders that they can have, the true value lies
between the one where every tied pair is in the right order and the one where none is. Where a site's policy may have merged
neighbouring bins, a count may come from anywhere between the bins beside it. The bounds are certain, and say nothing of chance:
they are no confidence intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medfl.messages.records import EVAL_PATIENTS, Metrics
from medfl.metrics.curves import BINS, auroc, average_precision
from medfl.metrics.keys import SUPPRESSED_DIGITS, class_keys, class_metric_key, get_numbers
from medfl.site.policy import MIN_NONZERO_COUNT
from medfl.study import Study

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bounds = tuple[float, float]


@dataclass(frozen=True)
class ScoreGroups:
    """Scores that are known up to a range of bins.

    Parameters
    ----------
    counts : ndarray of float, shape (G,)
        Number of scores of each group.
    low, high : ndarray of int, shape (G,)
        Lowest and highest bin in which they may lie.
    """

    counts: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def count_by(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the number of scores by bin, shape (BINS,), were each group at the given place."""
        counts: NDArray[np.float64] = np.bincount(places, self.counts, BINS).astype(np.float64)
        return counts


def group_scores(histograms: Sequence[Sequence[float]], merged: Sequence[bool]) -> ScoreGroups:
    """Return where the scores of several histograms may lie.

    Parameters
    ----------
    histograms : sequence of sequence of float
        Counts as `medfl.metrics.curves.histogram` returns them, one for each site.
    merged : sequence of bool
        Whether the site may have merged neighbouring bins of it.
    """
    exact = np.sum([h for h, m in zip(histograms, merged, strict=True) if not m] or [[0.0] * BINS], axis=0)
    filled = np.flatnonzero(exact)
    counts, lows, highs = [exact[filled]], [filled], [filled]
    for histogram in (np.asarray(h) for h, m in zip(histograms, merged, strict=True) if m and any(h)):
        bins = np.flatnonzero(histogram)
        counts.append(histogram[bins])
        lows.append(np.append(0, bins[:-1] + 1))
        highs.append(np.append(bins[1:] - 1, BINS - 1))
    return ScoreGroups(np.concatenate(counts).astype(np.float64), *(np.concatenate(x).astype(np.int64) for x in (lows, highs)))


def auroc_bounds(positives: ScoreGroups, negatives: ScoreGroups) -> Bounds:
    """Return the lowest and the highest AUROC that the scores may have; nan if a group is empty."""
    pairs = float(positives.counts.sum() * negatives.counts.sum())
    if not pairs:
        return math.nan, math.nan
    surely_below = np.cumsum(negatives.count_by(negatives.high)) - negatives.count_by(negatives.high)
    maybe_below = np.cumsum(negatives.count_by(negatives.low))
    lowest = float(positives.counts @ surely_below[positives.low]) / pairs
    return lowest, float(positives.counts @ maybe_below[positives.high]) / pairs


def average_precision_bounds(positives: ScoreGroups, negatives: ScoreGroups) -> Bounds:
    """Return the lowest and the highest average precision that the scores may have; nan if a group is empty."""
    if not positives.counts.sum() or not negatives.counts.sum():
        return math.nan, math.nan
    maybe_found, surely_false = _at_or_above(positives, positives.high), _above(negatives, negatives.low)
    surely_found, maybe_false = _above(positives, positives.low), _at_or_above(negatives, negatives.high)
    best = maybe_found / np.maximum(maybe_found + surely_false, 1)
    lowest, highest = [], []
    for count, low, high in zip(positives.counts, positives.low, positives.high, strict=True):
        places = slice(low, high + 1)
        ranks = surely_found[places, None] + np.arange(1, int(count) + 1)  # the n-th of a group has n - 1 others above it
        lowest.append(float((ranks / (ranks + maybe_false[places, None])).min(axis=0).sum()))
        highest.append(float(count * best[places].max()))
    total = float(positives.counts.sum())
    return math.fsum(lowest) / total, math.fsum(highest) / total


def score_errors(study: Study, parts: Sequence[Metrics]) -> dict[str, float]:
    """Return how far AUROC and average precision may be from those of the single scores.

    Parameters
    ----------
    study : Study
        Gives the kind of task and the classes.
    parts : sequence of dict
        Metrics of each site, as they came; not merged ones, in which it cannot be seen what a site's policy changed.

    Returns
    -------
    dict of str to float
        Largest possible distance to the true value, with keys as `derive` has them: of the task, and with more than two classes
        of each class. Empty in a segmentation; nan where the score is not defined.
    """
    if study.task.kind == "segmentation":
        return {}
    counted = [part for part in parts if part[EVAL_PATIENTS]]
    keys = class_keys(study.task.foreground)
    errors: dict[str, float] = {}
    scored = keys[1:] if len(keys) == 2 else keys
    for metric in ("auroc", "average-precision"):
        bounds = {key: _class_bounds(metric, counted, key) for key in scored}
        defined = [pair for pair in bounds.values() if not math.isnan(pair[0])]
        errors[metric] = _largest_distance(*map(_mean, zip(*defined, strict=True))) if defined else math.nan
        errors |= {f"{metric}.{key}": _largest_distance(*pair) for key, pair in bounds.items()} if len(keys) > 2 else {}
    return errors


def _class_bounds(metric: str, parts: Sequence[Metrics], key: str) -> tuple[float, float, float]:
    """Return the score of one class as it is computed, and its bounds."""
    sides = [[get_numbers(part, class_metric_key(side, key)) for part in parts] for side in ("positives", "negatives")]
    merged = [_may_be_merged(part, [h[k] for h in sides]) for k, part in enumerate(parts)]
    positives, negatives = (group_scores(histograms, merged) for histograms in sides)
    sums = [np.sum(histograms, axis=0).tolist() if histograms else [] for histograms in sides]
    if metric == "auroc":
        return auroc(sums[0], sums[1]), *auroc_bounds(positives, negatives)
    return average_precision(sums[0], sums[1]), *average_precision_bounds(positives, negatives)


def _may_be_merged(part: Metrics, histograms: Sequence[Sequence[float]]) -> bool:
    """Return whether a site's policy may have merged bins: none is small then, and no decimal of the reply unrounded."""
    small = any(0 < count < MIN_NONZERO_COUNT for histogram in histograms for count in histogram)
    evaluation = (value for key, value in part.items() if key.startswith("eval."))
    numbers = [x for value in evaluation for x in (value if isinstance(value, list) else [value])]
    return not small and all(round(number, SUPPRESSED_DIGITS) == number for number in numbers)


def _largest_distance(value: float, low: float, high: float) -> float:
    return max(high - value, value - low, 0.0) if not math.isnan(value) else math.nan


def _at_or_above(groups: ScoreGroups, places: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.cumsum(groups.count_by(places)[::-1])[::-1]


def _above(groups: ScoreGroups, places: NDArray[np.int64]) -> NDArray[np.float64]:
    return _at_or_above(groups, places) - groups.count_by(places)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
