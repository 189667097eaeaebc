"""Score of a model over the patients of all hospitals, that no model gains by the scale on which a hospital's model answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medfl.evaluation.bootstrap import Floats, PatientScores, SegmentedPatients
from medfl.evaluation.patient_results import Patient


def score_by_hospital(test: PatientScores, weights: Floats) -> Floats:
    """Return the score of each draw: mean Dice over patients, or the AUROC within each hospital, weighted by its patients.

    The hospitals' own models answer on scales of their own, so an AUROC across hospitals would compare what is not comparable.

    Parameters
    ----------
    test : PatientScores
        Scores of P patients.
    weights : ndarray of float, shape (B, P)
        Number of times that each patient is in each draw.
    """
    if isinstance(test, SegmentedPatients):
        return test.score(weights)
    total, count = np.zeros(len(weights)), np.zeros(len(weights))
    for hospital in sorted({site for site, _ in test.patients}):
        own = weights * np.array([site == hospital for site, _ in test.patients])
        score, patients = test.score(own), own.sum(axis=1)
        defined = np.isfinite(score)
        total[defined] += (score * patients)[defined]
        count[defined] += patients[defined]
    scores = np.full(len(weights), np.nan)
    np.divide(total, count, out=scores, where=count > 0)
    return scores


def spread_weights(weights: Floats, common: Sequence[Patient], test: PatientScores) -> Floats:
    """Return the weights in the order of the patients of a test, 0 for those that another arm lacks."""
    place = {patient: k for k, patient in enumerate(common)}
    spread = np.zeros((len(weights), len(test.patients)))
    for k, patient in enumerate(test.patients):
        if patient in place:
            spread[:, k] = weights[:, place[patient]]
    return spread
