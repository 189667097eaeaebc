"""Scores of groups of patients, such as by sex or age band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medfl.evaluation.bootstrap import Floats, Interval, PatientScores
from medfl.evaluation.hospital_scores import logit_interval, score_by_hospital
from medfl.evaluation.patient_results import Patient

Groups = Mapping[str, Mapping[Patient, str]]  # value by patient, by column


@dataclass(frozen=True)
class SubgroupScore:
    """Score of an arm on some of the test patients of all hospitals.

    Parameters
    ----------
    column, value : str
        What they have in common: the column of the index, and the value in it.
    patients : int
        How many they are.
    score : float
        Mean over the seeds; nan where it is not defined.
    interval : (float, float), optional
        95 % interval of this group alone: the more groups, the more of them lie outside by chance.
    """

    column: str
    value: str
    patients: int
    score: float
    interval: Interval | None


def score_subgroups(tests: Sequence[PatientScores], weights: Floats, groups: Groups) -> Iterator[SubgroupScore]:
    """Yield the score of each group of patients.

    Parameters
    ----------
    tests : sequence of PatientScores
        One for each model and seed, of the same P patients.
    weights : ndarray of float, shape (1 + B, P)
        Ones, and then how often each patient is in each draw.
    groups : mapping
        By column: the value of each patient; one who is in no column is in no group of it.
    """
    for column, value_of in groups.items():
        values = np.array([value_of.get(patient, "") for patient in tests[0].patients])
        for value in sorted(set(values.tolist()) - {""}):
            own = np.flatnonzero(values == value)
            scores = np.mean([score_by_hospital(test.take(own), weights[:, own]) for test in tests], axis=0)
            yield SubgroupScore(column, value, len(own), float(scores[0]), logit_interval(scores, len(own)))
