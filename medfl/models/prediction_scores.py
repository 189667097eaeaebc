"""Scores of predicted cases that have a label, over their patients, by the definitions of a run's test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medfl import metrics
from medfl.messages.records import Metrics
from medfl.runs.case_table import CaseResult, StructureResult
from medfl.study import Study

_NO_LOSS = 0.0  # a prediction has none


def score_patients(study: Study, results: Sequence[CaseResult]) -> tuple[int, dict[str, float]]:
    """Return the number of patients with a label, and the scores over them: `medfl.metrics.derive`.

    Parameters
    ----------
    study : Study
        Gives the classes.
    results : sequence of CaseResult
        Of all predicted cases; those without a label do not count.
    """
    known = [result for result in results if _has_label(study, result)]
    return len({result.patient for result in known}), metrics.derive(study, _measure(study, known))


def bound_scores(study: Study, results: Sequence[CaseResult]) -> dict[str, float]:
    """Return how far each score may be from that of the single probabilities: a test counts an AUROC in bins."""
    known = [result for result in results if _has_label(study, result)]
    return metrics.score_errors(study, [_measure(study, known)])


def _has_label(study: Study, result: CaseResult) -> bool:
    return bool(result.truth) if study.task.kind == "classification" else not math.isnan(result.score)


def _measure(study: Study, known: Sequence[CaseResult]) -> Metrics:
    if study.task.kind == "segmentation":
        scored = [(result.patient, _annotated(result)) for result in known]
        return metrics.segmentation_metrics(scored, study.task.foreground, _NO_LOSS)
    names = study.task.classes
    return metrics.classification_metrics(
        [result.patient for result in known],
        [names.index(result.truth) for result in known],
        np.array([[result.probabilities[name] for name in names] for result in known]),
        names,
        _NO_LOSS,
    )


def _annotated(result: CaseResult) -> dict[str, metrics.CaseScore]:
    """Return the scores of the structures whose truth is known."""
    return {name: _to_score(each) for name, each in result.structures.items() if each.dice == each.dice}


def _to_score(found: StructureResult) -> metrics.CaseScore:
    return metrics.CaseScore(
        found.dice, found.hd95, found.surface_dice, found.flag == "missed", found.flag == "false positive", found.true > 0
    )
