"""Results of scoring a split: numbers that may leave, and details that stay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medfl.clients.tasks.example_slices import Preview
from medfl.messages.records import Metrics
from medfl.runs.case_table import CaseResult


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """The result of scoring the patients of one split.

    Parameters
    ----------
    metrics : dict
        The ``eval.*`` metrics.
    patients : dict
        Scores by pseudonym of the patient, fit for JSON; they stay at the site.
    previews : tuple of Preview
        Example slices, when asked for.
    cases : tuple of CaseResult
        Results of single cases; they stay at the site.
    worst : mapping of str to Preview
        Slices of the worst cases by pseudonym, when previews were asked for; they stay at the site.
    """

    metrics: Metrics
    patients: dict[str, Any]
    previews: tuple[Preview, ...] = ()
    cases: tuple[CaseResult, ...] = ()
    worst: Mapping[str, Preview] = field(default_factory=dict)


def mean_loss(losses: Sequence[tuple[str, float]], limit: float) -> float:
    """Return the mean over patients of the mean losses of their images; 0 without any.

    A patient counts with a loss from 0 to the limit, and with the limit where a loss is not finite. So no patient moves the
    mean further than the limit over the number of patients, whatever the model.

    Parameters
    ----------
    losses : sequence of (str, float)
        Pseudonym of the patient and loss, for each image.
    limit : float
        `medfl.study.Study.max_loss`.

    Examples
    --------
    >>> mean_loss([("a", 1.0), ("a", 3.0), ("b", math.inf)], limit=4.0)
    3.0
    """
    patients: dict[str, list[float]] = {}
    for patient, loss in losses:
        patients.setdefault(patient, []).append(loss)
    means = [_clip(math.fsum(v) / len(v), limit) if all(map(math.isfinite, v)) else limit for v in patients.values()]
    return math.fsum(means) / len(means) if means else 0.0


def _clip(value: float, limit: float) -> float:
    return min(max(value, 0.0), limit)
