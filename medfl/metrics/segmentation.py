"""Metrics of segmented images: scores of one image, and their means over patients.

Empty masks are always scored as follows, because MONAI's defaults drop or reward the failures that matter most (a missed lesion
counts as an HD95 of 0 mm in its aggregate):

==================  ====  ============  =====================
mask                Dice  surface Dice  HD95
==================  ====  ============  =====================
both empty             1             1  0 mm
exactly one empty      0             0  diagonal of the image
==================  ====  ============  =====================

No HD95 counts as more than the study's largest distance, so that no single image decides a mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medfl.messages.records import EVAL_LOSS, EVAL_PATIENTS, Metrics
from medfl.metrics.keys import (
    COUNTS,
    HIDDEN,
    LOSS_HIDDEN,
    MEANS,
    SURFACE,
    SURFACE_HIDDEN,
    SURFACE_PATIENTS,
    class_keys,
    class_metric_key,
    hidden_key,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CaseScore:
    """Agreement of a prediction with the truth, for one class of one image.

    Parameters
    ----------
    dice : float
        Dice coefficient, 0 to 1.
    hd95 : float
        95th percentile of the Hausdorff distance, mm; nan if not measured.
    surface_dice : float
        Share of both surfaces within the tolerance of the other one, 0 to 1; nan if not measured.
    missed : bool
        The truth holds the class and the prediction does not.
    false_positive : bool
        The prediction holds the class and the truth does not.
    present : bool
        The truth holds the class.
    """

    dice: float
    hd95: float
    surface_dice: float
    missed: bool
    false_positive: bool
    present: bool


def segmentation_scores(
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    spacing: Sequence[float],
    classes: Sequence[str],
    *,
    surface: bool,
    tolerance_mm: float,
    max_distance: float = math.inf,
    annotated: Sequence[int] = (),
) -> dict[str, CaseScore]:
    """Score the segmentation of one image.

    Parameters
    ----------
    prediction, truth : ndarray of uint8, shape (X, Y) or (X, Y, Z)
        Label maps: 0 is the background, i + 1 is ``classes[i]``.
    spacing : sequence of float
        Size of a voxel along each axis, mm.
    classes : sequence of str
        Names of the foreground classes.
    surface : bool
        Whether to measure HD95 and surface Dice, which take most of the time.
    tolerance_mm : float
        Tolerance of the surface Dice (Nikolov et al. 2021).
    max_distance : float
        Largest HD95 that counts, mm.
    annotated : sequence of int
        Labels that are annotated in the truth; empty: all. Another label in the prediction counts as none of these.

    Returns
    -------
    dict of str to CaseScore
        Scores by the names of the annotated classes.

    Raises
    ------
    ValueError
        When the shapes and the spacing do not fit together.
    """
    if prediction.shape != truth.shape or len(spacing) != truth.ndim:
        raise ValueError(f"prediction {prediction.shape}, truth {truth.shape} and spacing {tuple(spacing)} do not fit together")
    scores = {}
    for label, name in enumerate(classes, start=1):
        if annotated and label not in annotated:
            continue
        p, t = prediction == label, truth == label
        size_p, size_t = int(np.count_nonzero(p)), int(np.count_nonzero(t))
        dice = 2 * int(np.count_nonzero(p & t)) / (size_p + size_t) if size_p + size_t else 1.0
        hd95, surface_dice = math.nan, math.nan
        if surface:
            distance, surface_dice = _surface_scores(p, t, spacing, tolerance_mm, empty=(size_p == 0, size_t == 0))
            hd95 = min(distance, max_distance)
        scores[name] = CaseScore(dice, hd95, surface_dice, size_p == 0 < size_t, size_t == 0 < size_p, size_t > 0)
    return scores


def _surface_scores(
    p: NDArray[np.bool_], t: NDArray[np.bool_], spacing: Sequence[float], tolerance_mm: float, empty: tuple[bool, bool]
) -> tuple[float, float]:
    if all(empty):
        return 0.0, 1.0
    if any(empty):
        return math.hypot(*(n * s for n, s in zip(t.shape, spacing, strict=True))), 0.0
    from scipy import ndimage

    box = _bounding_box(p | t)
    # a rim of background, so that a mask that ends at the border of the image has its surface there
    p, t = np.pad(p[box], 1), np.pad(t[box], 1)
    edge_p, edge_t = p ^ ndimage.binary_erosion(p), t ^ ndimage.binary_erosion(t)
    to_t = ndimage.distance_transform_edt(~edge_t, sampling=spacing)[edge_p]
    to_p = ndimage.distance_transform_edt(~edge_p, sampling=spacing)[edge_t]
    near = np.count_nonzero(to_t <= tolerance_mm) + np.count_nonzero(to_p <= tolerance_mm)
    hd95 = max(float(np.percentile(to_t, 95)), float(np.percentile(to_p, 95)))
    return hd95, float(near) / (len(to_t) + len(to_p))


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def segmentation_metrics(scores: Sequence[tuple[str, Mapping[str, CaseScore]]], classes: Sequence[str], loss: float) -> Metrics:
    """Compute means over patients from the scores of images.

    Several images of one patient count as one: the mean over the images of the patient comes first. A patient is missed (or
    a false positive, or has the class) when at least one image is.

    Parameters
    ----------
    scores : sequence of (str, mapping)
        Pseudonym of the patient and result of `segmentation_scores`, for each image. A class that is not annotated in an
        image is absent from its mapping, and does not count there.
    classes : sequence of str
        Names of the foreground classes.
    loss : float
        Mean loss over the patients.

    Returns
    -------
    dict
        The ``eval.*`` metrics; zeros without any score.
    """
    patients: dict[str, list[Mapping[str, CaseScore]]] = {}
    for patient, image in scores:
        patients.setdefault(patient, []).append(image)
    measured = bool(scores) and not any(math.isnan(score.hd95) for _, image in scores for score in image.values())
    metrics: Metrics = {
        EVAL_PATIENTS: len(patients),
        EVAL_LOSS: float(loss) if patients else 0.0,
        SURFACE_PATIENTS: len(patients) if measured else 0,
        **dict.fromkeys((HIDDEN, LOSS_HIDDEN, SURFACE_HIDDEN), 0),
    }
    for name, key in zip(classes, class_keys(classes), strict=True):
        by_patient = [[image[name] for image in images if name in image] for images in patients.values()]
        metrics |= _class_metrics(key, [images for images in by_patient if images], measured=measured)
    return metrics


def _class_metrics(key: str, patients: Sequence[Sequence[CaseScore]], *, measured: bool) -> Metrics:
    result: Metrics = {}
    for metric in MEANS:
        over = patients if measured or metric not in SURFACE else []
        result[class_metric_key(metric, key)] = _mean([_mean([_value(image, metric) for image in images]) for images in over])
    result[class_metric_key("patients", key)] = len(patients)
    result[class_metric_key("present", key)] = sum(any(image.present for image in images) for images in patients)
    for metric in COUNTS:
        result[class_metric_key(metric, key)] = sum(any(_value(image, metric) for image in images) for images in patients)
    return result | {hidden_key(what, key): 0 for what in ("scores", *COUNTS)}


def _value(score: CaseScore, metric: str) -> float:
    return float(getattr(score, metric.replace("-", "_")))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
