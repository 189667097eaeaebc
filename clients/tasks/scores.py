"""Results of scoring a split: numbers that may leave, and details that stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medfl.clients.tasks.example_slices import Preview
from medfl.messages.records import Metrics


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
    """

    metrics: Metrics
    patients: dict[str, Any]
    previews: tuple[Preview, ...] = ()


def mean_by_patient(values: Sequence[tuple[str, float]]) -> float:
    """Return the mean over patients of the means over their images; 0 without any.

    Examples
    --------
    >>> mean_by_patient([("a", 1.0), ("a", 3.0), ("b", 5.0)])
    3.5
    """
    patients: dict[str, list[float]] = {}
    for patient, value in values:
        patients.setdefault(patient, []).append(value)
    means = [math.fsum(v) / len(v) for v in patients.values()]
    return math.fsum(means) / len(means) if means else 0.0
