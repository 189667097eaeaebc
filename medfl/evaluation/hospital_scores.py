"""Scores by hospital, and the score over all hospitals, from which no arm gains by the scales on which models answer.

Intervals of a single hospital rest on few patients. They are those of Student's t on the logit of the score, which stay within
0 and 1 and are skewed as scores near 1 are, with the error of the bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from medfl.evaluation.bootstrap import Floats, Interval, PatientScores, SegmentedPatients, ratio

_ERROR = 0.05  # of an interval: the share of intervals that miss the truth


@dataclass(frozen=True)
class HospitalScore:
    """Score of an arm on the test patients of one hospital.

    Parameters
    ----------
    hospital : str
        Its name.
    patients : int
        Its test patients.
    score : float
        Mean over the seeds; nan where it is not defined.
    interval : (float, float), optional
        95 % interval, for a hospital that was named before the scores were known.
    joint_interval : (float, float), optional
        Interval that holds in 95 % for all hospitals together (Bonferroni), and so for one that is chosen by its score.
    """

    hospital: str
    patients: int
    score: float
    interval: Interval | None
    joint_interval: Interval | None


def scores_of_hospitals(test: PatientScores, weights: Floats) -> dict[str, Floats]:
    """Return the score of each draw at each hospital.

    Parameters
    ----------
    test : PatientScores
        Scores of P patients.
    weights : ndarray of float, shape (B, P)
        Number of times that each patient is in each draw.

    Returns
    -------
    dict of str to ndarray of float, shape (B,)
        By name; nan where it is not defined.
    """
    return {hospital: test.take(own).score(weights[:, own]) for hospital, own in _patients_of(test).items()}


def score_by_hospital(test: PatientScores, weights: Floats, scores: Mapping[str, Floats] | None = None) -> Floats:
    """Return the score of each draw: mean Dice over patients, or the AUROC within each hospital, weighted by its patients.

    The hospitals' own models answer on scales of their own, so an AUROC across hospitals would compare what is not comparable.

    Parameters
    ----------
    test, weights
        As for `scores_of_hospitals`.
    scores : mapping, optional
        What `scores_of_hospitals` gave, where it is known.
    """
    if isinstance(test, SegmentedPatients):
        return test.score(weights)
    scores = scores_of_hospitals(test, weights) if scores is None else scores
    total, count = np.zeros(len(weights)), np.zeros(len(weights))
    for hospital, own in _patients_of(test).items():
        score, patients = scores[hospital], weights[:, own].sum(axis=1)
        defined = np.isfinite(score)
        total[defined] += (score * patients)[defined]
        count[defined] += patients[defined]
    return ratio(total, count)


def summarize_hospitals(scores: Mapping[str, Floats], patients: Mapping[str, int]) -> tuple[HospitalScore, ...]:
    """Return the score and the intervals of each hospital.

    Parameters
    ----------
    scores : mapping of str to ndarray of float, shape (1 + B,)
        Score of the patients as they are, and then of each draw.
    patients : mapping of str to int
        Test patients.
    """
    scored = sum(math.isfinite(values[0]) for values in scores.values())
    return tuple(
        HospitalScore(
            hospital,
            patients[hospital],
            float(values[0]),
            logit_interval(values, patients[hospital]),
            logit_interval(values, patients[hospital], scored),
        )
        for hospital, values in scores.items()
    )


def find_lowest(hospitals: Sequence[HospitalScore]) -> HospitalScore | None:
    """Return the hospital with the lowest score, None where no hospital has one."""
    return min((each for each in hospitals if math.isfinite(each.score)), key=lambda each: each.score, default=None)


def logit_interval(values: Floats, patients: int, intervals: int = 1) -> Interval | None:
    """Return the interval of a score between 0 and 1 of a few patients.

    Parameters
    ----------
    values : ndarray of float, shape (1 + B,)
        The score, and that of each draw.
    patients : int
        Number of patients, one more than the degrees of freedom.
    intervals : int
        Number of intervals of which 95 % shall hold all together (Bonferroni).

    Returns
    -------
    (float, float) or None
        None with fewer than two patients, where the score is nearly never defined, and where all draws have one score, as with
        an AUROC of 1: then nothing tells how far other patients might be from it.
    """
    score, draws = float(values[0]), values[1:][np.isfinite(values[1:])]
    if patients < 2 or not 0 < score < 1 or len(draws) < 0.95 * (len(values) - 1) or len(draws) < 2:
        return None
    error = float(np.std(draws, ddof=1)) / (score * (1 - score))  # of the logit, by the delta method
    if error < 1e-9:
        return None
    reach = float(stats.t.isf(_ERROR / 2 / intervals, patients - 1)) * error
    low, high = special.expit([special.logit(score) - reach, special.logit(score) + reach])
    return float(low), float(high)


def _patients_of(test: PatientScores) -> dict[str, NDArray[np.int64]]:
    hospitals = np.array([hospital for hospital, _ in test.patients])
    return {str(hospital): np.flatnonzero(hospitals == hospital) for hospital in np.unique(hospitals)}
