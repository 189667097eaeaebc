"""Scoring of segmented images: from images to label maps to scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfl import metrics
from medfl.clients.tasks.case_results import score_segmentation
from medfl.clients.tasks.example_slices import MAX_WORST, Preview, WorstSlices, best_slice, worst_slice
from medfl.clients.tasks.inference import Predictor, crop_padding, group_cases, read_images
from medfl.clients.tasks.scores import EvaluationResult, mean_loss
from medfl.clients.training.partial_labels import MarginalLoss
from medfl.data.preprocess.undo import resample_to_source
from medfl.data.store.prepared_data import PreparedCase
from medfl.runs.case_table import CaseResult
from medfl.study import Study

CaseScores = dict[str, metrics.CaseScore]


def score_cases(
    study: Study,
    cases: Sequence[PreparedCase],
    predictor: Predictor,
    loss: MarginalLoss,
    split: str,
    *,
    keep_previews: bool = False,
) -> EvaluationResult:
    """Segment images and score each by its annotated structures.

    Validation is scored on the prepared grid; a test on the grid of the original mask, if the store kept it.

    Parameters
    ----------
    study : Study
        Gives the overlap of windows, the classes, and whether surfaces are measured.
    cases : sequence of PreparedCase
        The cases of the split.
    predictor : callable
        Gives the logits of images.
    loss : callable
        Called with logits, masks and annotated classes, on the prepared grid.
    split : {"validation", "test"}
        Split of the patients.
    keep_previews : bool
        Whether to keep an example slice of every case, and one of the errors of the worst.
    """
    test = split == "test"
    overlap = study.evaluation.test_overlap if test else study.evaluation.overlap
    scores: list[tuple[str, CaseScores]] = []
    losses: list[tuple[str, float]] = []
    results: list[CaseResult] = []
    previews: list[Preview] = []
    worst = WorstSlices(MAX_WORST if keep_previews else 0)
    for group in group_cases(study, cases):
        images = read_images(study, group)
        for case, padded in zip(group, predictor(images, overlap), strict=True):
            truth = _mask(case)
            logits = crop_padding(padded, truth.shape)
            losses.append((case.patient, _loss(loss, logits, truth, case.annotated)))
            prediction = logits.argmax(0).to(torch.uint8).cpu().numpy()
            of_case, result = _score_case(study, case, logits, prediction, truth, split)
            scores.append((case.patient, of_case))
            results.append(result)
            slices = case.image[0], truth, prediction, _mean_dice(of_case)
            if keep_previews:
                previews.append(best_slice(*slices))
            worst.offer(case.name, slices[-1], partial(worst_slice, *slices))
    found = metrics.segmentation_metrics(scores, study.task.foreground, mean_loss(losses, study.max_loss))
    return EvaluationResult(found, _patient_scores(scores), tuple(previews), tuple(results), worst.by_case())


def _score_case(
    study: Study, case: PreparedCase, logits: Tensor, prediction: NDArray[np.uint8], truth: NDArray[np.uint8], split: str
) -> tuple[CaseScores, CaseResult]:
    spacing, reference = case.spacing, case.reference
    if split == "test" and reference is not None:
        with torch.inference_mode():
            prediction = resample_to_source(torch.softmax(logits, 0), reference.prepared_affine, reference.grid)
        truth, spacing = np.asarray(reference.label), reference.spacing
    surface = study.evaluation.surface == "always" or (study.evaluation.surface == "test" and split == "test")
    return score_segmentation(study, case, prediction, truth, spacing, surface=surface)


def _mask(case: PreparedCase) -> NDArray[np.uint8]:
    label = case.label
    if not isinstance(label, np.ndarray):
        raise TypeError("a segmentation case holds no mask")
    return np.asarray(label)


def _loss(loss: MarginalLoss, logits: Tensor, truth: NDArray[np.uint8], annotated: tuple[int, ...]) -> float:
    with torch.inference_mode():
        return float(loss(logits[None], torch.from_numpy(truth.copy())[None].to(logits.device), [annotated]))


def _mean_dice(scores: CaseScores) -> float:
    return math.fsum(s.dice for s in scores.values()) / len(scores)


def _patient_scores(scores: Sequence[tuple[str, CaseScores]]) -> dict[str, Any]:
    """Return the scores of each patient by class, which stay at the site; several images of a patient are averaged."""
    images: dict[str, list[CaseScores]] = {}
    for patient, found in scores:
        images.setdefault(patient, []).append(found)
    return {
        patient: {
            "images": len(found),
            "score": math.fsum(_mean_dice(f) for f in found) / len(found),
            "classes": {name: _class_scores([f[name] for f in found if name in f]) for name in _annotated_names(found)},
        }
        for patient, found in sorted(images.items())
    }


def _annotated_names(images: Sequence[CaseScores]) -> list[str]:
    """Return the structures that are annotated in at least one image."""
    return list(dict.fromkeys(name for found in images for name in found))


def _class_scores(scores: Sequence[metrics.CaseScore]) -> dict[str, float | bool | None]:
    def mean(name: str) -> float | None:
        value = math.fsum(getattr(s, name) for s in scores) / len(scores)
        return None if math.isnan(value) else value

    return {
        "dice": mean("dice"),
        "hd95": mean("hd95"),
        "surface-dice": mean("surface_dice"),
        "missed": any(s.missed for s in scores),
        "false-positive": any(s.false_positive for s in scores),
    }
