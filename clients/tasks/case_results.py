"""Results of single cases for the table that stays at the site: scores, volumes, and what the model said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medfl.data.store.prepared_data import PreparedCase
from medfl.metrics import CaseScore, segmentation_scores
from medfl.runs.case_table import CaseResult, StructureResult
from medfl.study import Study

_MM3_PER_ML = 1000.0
_NOT_SCORED = CaseScore(math.nan, math.nan, math.nan, missed=False, false_positive=False, present=False)


def score_segmentation(
    study: Study,
    case: PreparedCase,
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None,
    spacing: Sequence[float],
    *,
    surface: bool,
) -> tuple[dict[str, CaseScore], CaseResult]:
    """Score the annotated structures of a segmented case as the study says, and return the scores with its result.

    Parameters
    ----------
    study : Study
        Gives the classes, and how surfaces are measured.
    case : PreparedCase
        Gives its names and the annotated classes.
    prediction, truth : ndarray of uint8, shape (X, Y) or (X, Y, Z)
        Label maps on one grid; without a truth there are no scores.
    spacing : sequence of float
        Size of a voxel along each axis, mm; 1.0 for 2-D images.
    surface : bool
        Whether to measure surfaces.
    """
    scores: dict[str, CaseScore] = {}
    if truth is not None:
        scores = segmentation_scores(
            prediction,
            truth,
            spacing,
            study.task.foreground,
            surface=surface,
            tolerance_mm=study.evaluation.tolerance_mm,
            max_distance=study.max_distance,
            annotated=case.annotated,
        )
    return scores, segmentation_result(case.name, case.patient, study.task.foreground, prediction, truth, spacing, scores)


def segmentation_result(
    case: str,
    patient: str,
    classes: Sequence[str],
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None,
    spacing: Sequence[float],
    scores: Mapping[str, CaseScore],
) -> CaseResult:
    """Return the result of a segmented case.

    Parameters
    ----------
    case, patient : str
        Pseudonyms.
    classes : sequence of str
        Names of the foreground classes: ``classes[i]`` has the label i + 1.
    prediction, truth : ndarray of uint8, shape (X, Y) or (X, Y, Z)
        Label maps on one grid; no truth where there is none.
    spacing : sequence of float
        Size of a voxel along each axis, mm; 1.0 for 2-D images.
    scores : mapping of str to CaseScore
        Result of `medfl.metrics.segmentation_scores`. What is not in it was not annotated: its truth is not known.
    """
    voxel = math.prod(spacing) / (_MM3_PER_ML if prediction.ndim == 3 else 1.0)
    predicted = np.bincount(prediction.ravel(), minlength=len(classes) + 1) * voxel
    true = None if truth is None else np.bincount(truth.ravel(), minlength=len(classes) + 1) * voxel
    structures = {}
    for label, name in enumerate(classes, start=1):
        score, known = scores.get(name, _NOT_SCORED), true is not None and name in scores
        size = float(true[label]) if true is not None and known else math.nan
        structures[name] = StructureResult(score.dice, score.hd95, score.surface_dice, float(predicted[label]), size)
    return CaseResult(case, patient, structures)


def classification_result(
    case: str, patient: str, classes: Sequence[str], probabilities: Sequence[float], truth: int | None
) -> CaseResult:
    """Return the result of a classified case.

    Parameters
    ----------
    case, patient : str
        Pseudonyms.
    classes : sequence of str
        Names of the classes.
    probabilities : sequence of float
        Of each class.
    truth : int, optional
        Index of the true class, where it is known.
    """
    predicted = classes[int(np.argmax(probabilities))]
    named = dict(zip(classes, map(float, probabilities), strict=True))
    return CaseResult(case, patient, {}, "" if truth is None else classes[truth], predicted, named)
