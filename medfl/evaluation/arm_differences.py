"""Differences of the arms of a comparison on the same patients."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import Floats, Interval, confidence_interval
from medfl.evaluation.paired_tests import holm, paired_p_value
from medfl.evaluation.patient_results import Patient

LEVEL = 0.05  # of the tests, all comparisons together


@dataclass(frozen=True)
class ArmDifference:
    """Score of one arm minus that of another on the same patients.

    Parameters
    ----------
    first, second : str
        Titles of the arms.
    difference : float
        Difference of their scores.
    interval : (float, float), optional
        Its 95 % interval, not corrected for the number of comparisons.
    p_value : float, optional
        That of no difference, corrected for the number of comparisons (`medfl.evaluation.paired_tests`).
    """

    first: str
    second: str
    difference: float
    interval: Interval | None
    p_value: float | None

    @property
    def verdict(self) -> str:
        """Return "higher" or "lower" where the test and the interval both say so, otherwise "not known"."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1] or self.p_value is None or self.p_value >= LEVEL:
            return "not known"
        return "higher" if self.interval[0] > 0 else "lower"


def compare_pairs(
    by_title: Mapping[str, Mapping[int, ArmRun]], scores: Mapping[int, Floats], common: Sequence[Patient]
) -> tuple[ArmDifference, ...]:
    """Compare arms on the seeds that both completed: one whose run failed in an arm counts in neither."""
    federated = [title for title, each in by_title.items() if next(iter(each.values())).arm == "federated"]
    others = [title for title in by_title if title not in federated]
    compared = []
    for one, two in [*itertools.product(federated, others), *((federated[0], other) for other in federated[1:])]:
        seeds = sorted(by_title[one].keys() & by_title[two].keys())
        if seeds:
            first, second = ([by_title[title][seed] for seed in seeds] for title in (one, two))
            difference = np.mean([scores[id(a)] - scores[id(b)] for a, b in zip(first, second, strict=True)], axis=0)
            p_value = paired_p_value([run.test for run in first], [run.test for run in second], common)
            compared.append((one, two, difference, p_value))
    corrected = holm([p_value for *_, p_value in compared])
    return tuple(
        _difference(one, two, difference, p_value)
        for (one, two, difference, _), p_value in zip(compared, corrected, strict=True)
    )


def _difference(first: str, second: str, differences: Floats, p_value: float | None) -> ArmDifference:
    return ArmDifference(first, second, float(differences[0]), confidence_interval(differences[1:]), p_value)
