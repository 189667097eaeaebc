"""Scoring of classified images: from images to probabilities to counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medfl import metrics
from medfl.clients.tasks.case_results import classification_result
from medfl.clients.tasks.example_slices import MAX_WORST, Preview, WorstSlices, image_slice
from medfl.clients.tasks.inference import Predictor, group_cases, read_images
from medfl.clients.tasks.scores import EvaluationResult, mean_loss
from medfl.clients.training.losses import LossFunction
from medfl.data.store.prepared_data import PreparedCase
from medfl.study import Study


def score_cases(
    study: Study,
    cases: Sequence[PreparedCase],
    predictor: Predictor,
    loss: LossFunction,
    *,
    keep_previews: bool = False,
) -> EvaluationResult:
    """Classify images and fold their probabilities into counts.

    Parameters
    ----------
    study : Study
        Gives the classes.
    cases : sequence of PreparedCase
        The cases of the split.
    predictor : callable
        Gives the logits of images.
    loss : callable
        Called with logits and classes.
    keep_previews : bool
        Whether to keep a slice of the worst cases.
    """
    losses: list[tuple[str, float]] = []
    chunks = [np.zeros((0, len(study.task.classes)))]
    for group in group_cases(study, cases):
        logits = predictor(read_images(study, group), 0.0)
        chunks.append(torch.softmax(logits, 1).cpu().numpy().astype(np.float64))
        labels = torch.tensor([_class_label(case) for case in group], device=logits.device)
        with torch.inference_mode():
            losses += [(case.patient, float(loss(logits[k : k + 1], labels[k : k + 1]))) for k, case in enumerate(group)]
    probabilities = np.concatenate(chunks)
    patients, classes = [case.patient for case in cases], [_class_label(case) for case in cases]
    mean = mean_loss(losses, study.max_loss)
    scores = metrics.classification_metrics(patients, classes, probabilities, study.task.classes, mean)
    results = [
        classification_result(case.name, case.patient, study.task.classes, of_case.tolist(), label)
        for case, of_case, label in zip(cases, probabilities, classes, strict=True)
    ]
    worst = WorstSlices(MAX_WORST if keep_previews else 0)
    for case, result in zip(cases, results, strict=True):
        worst.offer(case.name, result.score, partial(_draw_case, case, result.score))
    return EvaluationResult(
        scores, _patient_scores(study, patients, classes, probabilities), (), tuple(results), worst.by_case()
    )


def _draw_case(case: PreparedCase, score: float) -> Preview:
    return image_slice(case.image[0], score)


def _class_label(case: PreparedCase) -> int:
    label = case.label
    if not isinstance(label, int):
        raise TypeError("a classification case holds no class")
    return label


def _patient_scores(
    study: Study, patients: Sequence[str], classes: Sequence[int], probabilities: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the predictions for each patient, which stay at the site: one entry for each of the patient's labels."""
    names = study.task.classes
    units: dict[str, dict[int, list[int]]] = {}
    for k, (patient, label) in enumerate(zip(patients, classes, strict=True)):
        units.setdefault(patient, {}).setdefault(label, []).append(k)
    result: dict[str, Any] = {}
    for patient, labels in sorted(units.items()):
        result[patient] = []
        for label, images in sorted(labels.items()):
            mean = probabilities[images].mean(axis=0)
            scores = dict(zip(names, mean.tolist(), strict=True))
            result[patient].append({"images": len(images), "truth": names[label], "probabilities": scores})
    return result
