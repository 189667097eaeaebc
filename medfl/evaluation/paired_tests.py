"""Tests of the difference of two models on the same patients, and their correction for the number of comparisons.

Each patient counts once, however many images there are of him or her. Seeds are averaged before the test: they are no patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, PatientScores, SegmentedPatients


def paired_p_value(first: Sequence[PatientScores], second: Sequence[PatientScores]) -> float | None:
    """Return the p-value of no difference between two models, two-sided.

    Of a segmentation it is Wilcoxon's signed-rank test of the patients' Dice, zeros ranked along (Pratt 1959). Of a
    classification it is the test of DeLong et al. (1988) within each hospital, the differences weighted by patients; the parts
    of a patient's images are summed, as Obuchowski (1997) does for clustered data.

    Parameters
    ----------
    first, second : sequence of PatientScores
        Tests of each model, one for each seed, of the same patients in the same order.

    Returns
    -------
    float or None
        None where it is not known: with fewer than two patients, or patients of a class, at a hospital.
    """
    if are_segmented(*first, *second):
        differences = mean_dice(first) - mean_dice(second)
        return signed_rank_p_value(differences[np.isfinite(differences)])
    score, parts = (one - other for one, other in zip(_auroc_of(first), _auroc_of(second), strict=True))
    error = float(np.sqrt(np.sum(parts**2)))
    if not (math.isfinite(error) and error > 0):
        return 1.0 if error == 0 and score == 0 else None
    return float(2 * stats.norm.sf(abs(float(score)) / error))


def signed_rank_p_value(differences: Floats) -> float | None:
    """Return the p-value of Wilcoxon's signed-rank test, None with fewer than two patients."""
    if len(differences) < 2:
        return None
    differences = drop_noise(differences)
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)


def drop_noise(differences: Floats) -> Floats:
    """Return differences without the noise of floating-point numbers, which would have ranks of its own."""
    return np.round(differences, 12)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number, those that are not known among them (Holm 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, None, 0.03])
    [0.04, 0.09, None, 0.09]
    """
    adjusted: list[float | None] = [None] * len(p_values)
    known = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    highest = 0.0
    for rank, (p, k) in enumerate(known):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[k] = highest
    return adjusted


def auroc_parts(scores: Floats, positive: NDArray[np.bool_], owner: NDArray[np.int64], count: int) -> tuple[float, Floats]:
    """Return an AUROC, and what each patient adds to its error: the sum of the squares is its variance (DeLong et al. 1988).

    Ranks make it fast (Sun and Xu 2014). With several images of a patient the parts of a patient are summed (Obuchowski 1997).

    Parameters
    ----------
    scores : ndarray of float, shape (U,)
        Probability of the class in each image.
    positive : ndarray of bool, shape (U,)
        Whether it is of the class.
    owner : ndarray of int, shape (U,)
        Index of its patient.
    count : int
        Number of patients, P.

    Returns
    -------
    auroc : float
        Nan unless there are images of both kinds.
    parts : ndarray of float, shape (P,)
        Nan unless there are two patients of both kinds.
    """
    parts = np.zeros(count)
    if positive.all() or not positive.any():
        return math.nan, parts * math.nan
    ranks = stats.rankdata(scores)
    above = (ranks[positive] - stats.rankdata(scores[positive])) / np.sum(~positive)
    below = 1 - (ranks[~positive] - stats.rankdata(scores[~positive])) / np.sum(positive)
    auroc = float(np.mean(above))
    for shares, rows in ((above, owner[positive]), (below, owner[~positive])):
        patients = len(np.unique(rows))
        scale = math.sqrt(patients / (patients - 1)) if patients > 1 else math.nan
        np.add.at(parts, rows, scale * (shares - auroc) / len(shares))
    return auroc, parts


def are_segmented(*tests: PatientScores) -> bool:
    """Return whether patients have a Dice."""
    return all(isinstance(test, SegmentedPatients) for test in tests)


def mean_dice(tests: Sequence[PatientScores]) -> Floats:
    """Return the Dice of each patient (P,), over the classes that are known and over the seeds; nan where none is."""
    by_seed = []
    for test in tests:
        assert isinstance(test, SegmentedPatients)
        seen = np.isfinite(test.dice)
        total, classes = np.where(seen, test.dice, 0.0).sum(axis=1), seen.sum(axis=1)
        by_seed.append(np.divide(total, classes, out=np.full(len(total), np.nan), where=classes > 0))
    return np.asarray(np.mean(by_seed, axis=0))


def _auroc_of(tests: Sequence[PatientScores]) -> tuple[Floats, Floats]:
    """Return the AUROC within hospitals, weighted by patients, and the part of each patient, both averaged over seeds."""
    found = [_auroc_of_one(test) for test in tests]
    return np.mean([score for score, _ in found]), np.mean([parts for _, parts in found], axis=0)  # type: ignore[return-value]


def _auroc_of_one(test: PatientScores) -> tuple[float, Floats]:
    assert isinstance(test, ClassifiedPatients)
    count = len(test.patients)
    sites = np.array([site for site, _ in test.patients])
    classes = test.probabilities.shape[1]
    total, weight, parts = 0.0, 0, np.zeros(count)
    for site in np.unique(sites):
        rows = np.flatnonzero(sites[test.owner] == site)
        found = [
            auroc_parts(test.probabilities[rows, c], test.truth[rows] == c, test.owner[rows], count)
            for c in ([1] if classes == 2 else range(classes))
        ]
        defined = [(score, own) for score, own in found if math.isfinite(score)]
        if defined:
            own_patients = int(np.sum(sites == site))
            total += own_patients * float(np.mean([score for score, _ in defined]))
            parts += own_patients * np.mean([own for _, own in defined], axis=0)
            weight += own_patients
    return (total / weight, parts / weight) if weight else (math.nan, parts * math.nan)
