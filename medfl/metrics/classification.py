"""Metrics of classified images, as counts.

The unit is all images of one patient with the same label, with their class probabilities averaged. Only counts leave:
score histograms, the confusion matrix, and the calibration bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medfl.errors import TrainingError
from medfl.messages.records import EVAL_LOSS, EVAL_PATIENTS, Metrics
from medfl.metrics.curves import histogram
from medfl.metrics.keys import (
    CALIBRATION_CONFIDENCE,
    CALIBRATION_CORRECT,
    CALIBRATION_COUNT,
    CALIBRATION_HIDDEN,
    CONFUSION,
    CONFUSION_HIDDEN,
    HIDDEN,
    LOSS_HIDDEN,
    SAMPLES,
    class_keys,
    class_metric_key,
    hidden_key,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_BINS = 15


def classification_metrics(
    patients: Sequence[str],
    labels: Sequence[int] | NDArray[np.integer],
    probabilities: NDArray[np.floating],
    classes: Sequence[str],
    loss: float,
) -> Metrics:
    """Fold the class probabilities of images into counts.

    Parameters
    ----------
    patients : sequence of str
        Pseudonym of the patient of each of N images.
    labels : sequence of int
        Class of each image, 0 to C - 1.
    probabilities : ndarray of float, shape (N, C)
        Softmax of the network.
    classes : sequence of str
        Names of the C classes.
    loss : float
        Mean loss.

    Returns
    -------
    dict
        The ``eval.*`` metrics; zeros without any image.

    Raises
    ------
    TrainingError
        ``EVAL-NOT-FINITE`` when a probability is not a number.
    ValueError
        When the lengths do not fit together, or a label is not a class.
    """
    scores = np.asarray(probabilities, dtype=np.float64).reshape(-1, len(classes))
    if not len(patients) == len(labels) == len(scores):
        raise ValueError(f"{len(patients)} patients, {len(labels)} labels and {len(scores)} scores do not fit together")
    if not set(map(int, labels)) <= set(range(len(classes))):
        raise ValueError(f"labels must be 0 to {len(classes) - 1}")
    if not np.isfinite(scores).all():
        raise TrainingError("EVAL-NOT-FINITE", "the model gives scores that are not numbers.", "Lower the learning rate.")
    truth, units = _average_units(patients, labels, np.clip(scores, 0.0, 1.0))
    count = len(set(patients))
    metrics: Metrics = {EVAL_PATIENTS: count, SAMPLES: len(labels), EVAL_LOSS: float(loss) if count else 0.0, HIDDEN: 0}
    for index, key in enumerate(class_keys(classes)):
        metrics[class_metric_key("positives", key)] = histogram(units[truth == index, index])
        metrics[class_metric_key("negatives", key)] = histogram(units[truth != index, index])
        metrics[hidden_key("scores", key)] = 0
    return metrics | _count_decisions(truth, units) | dict.fromkeys((LOSS_HIDDEN, CONFUSION_HIDDEN, CALIBRATION_HIDDEN), 0)


def _average_units(
    patients: Sequence[str], labels: Sequence[int] | NDArray[np.integer], scores: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Average the scores of the images of one patient with one label: labels (U,), scores (U, C)."""
    order: dict[tuple[str, int], int] = {}
    unit = [order.setdefault(pair, len(order)) for pair in zip(patients, map(int, labels), strict=True)]
    sums = np.zeros((len(order), scores.shape[1]))
    np.add.at(sums, unit, scores)
    sizes = np.bincount(np.asarray(unit, dtype=np.int64), minlength=len(order))
    return np.array([label for _, label in order], dtype=np.int64), sums / sizes[:, None]


def _count_decisions(truth: NDArray[np.int64], units: NDArray[np.float64]) -> Metrics:
    width = units.shape[1]
    predicted = units.argmax(axis=1)
    confidence = units.max(axis=1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return {
        CONFUSION: np.bincount(truth * width + predicted, minlength=width * width).tolist(),
        CALIBRATION_COUNT: np.bincount(bins, minlength=CALIBRATION_BINS).tolist(),
        CALIBRATION_CONFIDENCE: np.bincount(bins, weights=confidence, minlength=CALIBRATION_BINS).astype(float).tolist(),
        CALIBRATION_CORRECT: np.bincount(bins[predicted == truth], minlength=CALIBRATION_BINS).tolist(),
    }
