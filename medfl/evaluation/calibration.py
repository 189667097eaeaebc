"""Whether a model's probabilities mean what they say: Brier score, and expected calibration error with its reliability bins.

A calibration error is never below zero, so that with few patients that of a perfectly calibrated model is well above, and every
draw of the bootstrap is further up than the truth. Its interval therefore is made of all calibration errors with which what was
seen agrees: outcomes are drawn with the gaps between confidence and accuracy that were seen, shrunk, grown or turned (test
inversion; with gaps of zero it is the consistency resampling of Bröcker and Smith 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, Interval, confidence_interval

BINS = 15  # of the confidence, equally wide, as in `medfl.metrics`
_GRID, _DRAWS = 51, 400  # calibration errors that are tried, and outcomes that are drawn for each
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of about one confidence, of all models and seeds.

    Parameters
    ----------
    low, high : float
        Confidence from and up to.
    count : int
        Predictions: one for each label of a patient, model and seed.
    confidence : float
        Mean probability of the class that is most probable.
    accuracy : float
        Share of them whose class is the true one.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Calibration of an arm over the patients of all hospitals, the mean over its seeds.

    Parameters
    ----------
    ece : float
        Expected calibration error of the most probable class (Guo et al. 2017): the mean gap between confidence and accuracy.
    ece_interval : (float, float), optional
        95 % interval; None where every prediction agrees with its outcome, and where it was not asked for.
    ece_if_calibrated : float
        The mean calibration error that a perfectly calibrated model would show with as many patients.
    brier : float
        Mean squared error of the probability of the second of two classes, or summed over more than two (Brier 1950).
    brier_interval : (float, float), optional
        95 % interval.
    bins : tuple of ReliabilityBin
        Those with any prediction, from the lowest confidence.
    """

    ece: float
    ece_interval: Interval | None
    ece_if_calibrated: float
    brier: float
    brier_interval: Interval | None
    bins: tuple[ReliabilityBin, ...]


def calibrate(tests: Sequence[ClassifiedPatients], weights: Floats, *, with_interval: bool = True) -> Calibration:
    """Return the calibration of an arm.

    Parameters
    ----------
    tests : sequence of ClassifiedPatients
        One for each model and seed, of the same P patients.
    weights : ndarray of float, shape (1 + B, P)
        Ones, and then how often each patient is in each draw.
    with_interval : bool
        Whether to find the interval of the calibration error, which takes most of the time.
    """
    brier = np.mean([_brier(test, weights) for test in tests], axis=0)
    by_seed = [fill_bins(test) for test in tests]
    intervals = [calibration_interval(*(values[:, values[0] > 0])) for values in by_seed] if with_interval else [None]
    known = [each for each in intervals if each is not None]
    return Calibration(
        ece=float(np.mean([calibration_error(*values) for values in by_seed])),
        # of the mean of models that err alike; where they do not, it is wider than need be
        ece_interval=_mean_interval(known) if len(known) == len(intervals) else None,
        ece_if_calibrated=float(np.mean([_error_if_calibrated(*values) for values in by_seed])),
        brier=float(brier[0]),
        brier_interval=confidence_interval(brier[1:]),
        bins=_reliability(np.sum(by_seed, axis=0)),
    )


def fill_bins(test: ClassifiedPatients) -> Floats:
    """Return the predictions in each bin, the sums of their confidences, and how many were right, shape (3, BINS)."""
    confidence = test.probabilities.max(axis=1)
    right = (test.probabilities.argmax(axis=1) == test.truth).astype(np.float64)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return np.stack([np.bincount(bins, weights=each, minlength=BINS) for each in (np.ones(len(bins)), confidence, right)])


def calibration_error(count: Floats, confidence: Floats, correct: Floats) -> float:
    """Return the expected calibration error of predictions in bins.

    Parameters
    ----------
    count, confidence, correct : ndarray of float, shape (K,)
        Predictions in each bin, the sum of their confidences, and how many were right.
    """
    return float(np.abs(confidence - correct).sum() / count.sum())


def calibration_interval(count: Floats, confidence: Floats, correct: Floats) -> Interval | None:
    """Return the calibration errors with which predictions in bins, none of them empty, agree at the level of 0.05.

    Parameters
    ----------
    count, confidence, correct
        As for `calibration_error`.

    Returns
    -------
    (float, float) or None
        None where no bin has a gap, which tells of no direction in which others might have one.
    """
    seen, level = calibration_error(count, confidence, correct), confidence / count
    if seen < 1e-12:
        return None
    gap = (correct / count - level) / seen  # of a calibration error of 1
    lows, highs = [], []
    for turned in (1, -1):
        chance = np.clip(level + turned * np.linspace(0, 1, _GRID)[:, None] * gap, 0, 1)
        error = (count * np.abs(level - chance)).sum(axis=1) / count.sum()
        least, most = np.quantile(_draw_errors(count, level, chance), _TAILS, axis=1)
        lows.append(float(np.interp(seen, np.maximum.accumulate(most), error)))
        highs.append(float(np.interp(seen, np.maximum.accumulate(least), error)))
    return min(lows), max(highs)


def _draw_errors(count: Floats, level: Floats, chance: Floats) -> Floats:
    """Return calibration errors (G, draws): numbers in bins are drawn, and how many are right, with chances (G, K)."""
    rng, total = np.random.default_rng(0), count.sum()
    drawn = rng.multinomial(int(total), count / total, size=(len(chance), _DRAWS))
    errors: Floats = np.abs(level * drawn - rng.binomial(drawn, chance[:, None, :])).sum(axis=2) / total
    return errors


def _error_if_calibrated(count: Floats, confidence: Floats, correct: Floats) -> float:
    filled = count > 0
    level = np.clip(confidence[filled] / count[filled], 0, 1)
    return float(_draw_errors(count[filled], level, level[None]).mean())


def _reliability(filled: Floats) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(k / BINS, (k + 1) / BINS, int(count), float(confidence / count), float(correct / count))
        for k, (count, confidence, correct) in enumerate(filled.T)
        if count
    )


def _brier(test: ClassifiedPatients, weights: Floats) -> Floats:
    wrong = test.probabilities - np.eye(test.probabilities.shape[1])[test.truth]
    square = np.square(wrong).sum(axis=1) / (2 if wrong.shape[1] == 2 else 1)
    drawn = weights[:, test.owner]
    mean: Floats = drawn @ square / drawn.sum(axis=1)
    return mean


def _mean_interval(intervals: Sequence[Interval]) -> Interval:
    low, high = np.mean(intervals, axis=0)
    return float(low), float(high)
