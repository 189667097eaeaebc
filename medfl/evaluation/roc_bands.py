"""ROC curves averaged over hospitals, with pointwise bands over their patients.

The sensitivities at each specificity are averaged over hospitals, weighted by patients, and over the seeds (vertical averaging,
Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010), as hospitals' own models answer on scales of their own. So the area
under the curve is the AUROC of `medfl.evaluation.hospital_scores`, up to the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, draw_weights

GRID = np.linspace(0.0, 1.0, 101)  # of 1 - specificity
_DRAWS, _FEWEST_DRAWS = 200, 50
_MOST_CURVES = 40_000  # of all draws, hospitals and seeds: beyond, a page would take long
_TAILS = (2.5, 97.5)  # percent


@dataclass(frozen=True, eq=False)
class RocBand:
    """A mean ROC curve on `GRID`, and its pointwise 95 % band; no band where there are too few patients or too many hospitals.

    Parameters
    ----------
    sensitivity : ndarray of float, shape (101,)
        The curve.
    low, high : ndarray of float, shape (101,), optional
        Ends of the band.
    """

    sensitivity: Floats
    low: Floats | None
    high: Floats | None


def average_roc(hospitals: Sequence[Sequence[ClassifiedPatients]]) -> RocBand | None:
    """Average the ROC curves of a model over hospitals and seeds.

    Parameters
    ----------
    hospitals : sequence of sequence of ClassifiedPatients
        For each hospital the tests on its patients, one for each seed, all with the same patients.

    Returns
    -------
    RocBand or None
        None where no hospital has images with and without the finding. With more than two classes it is the mean over the
        classes, each against the rest.
    """
    curves_in_all = max(1, sum(map(len, hospitals)))
    draws = min(_DRAWS, _MOST_CURVES // curves_in_all)
    draws = draws if draws >= _FEWEST_DRAWS else 0
    total, count = np.zeros((draws + 1, len(GRID))), np.zeros((draws + 1, 1))
    for tests in hospitals:
        patients = tests[0].patients
        weights = np.ones((draws + 1, len(patients)))
        if draws and len(patients) > 1:
            weights[1:] = draw_weights(sorted(patients), draws, by_hospital=True)
        curves = np.mean([_roc(test, weights) for test in tests], axis=0)
        defined = np.isfinite(curves[:, :1])
        total += np.where(defined, curves * len(patients), 0.0)
        count += defined * len(patients)
    if not count[0, 0]:
        return None
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    drawn = mean[1:][np.isfinite(mean[1:, 0])]
    if len(drawn) < _FEWEST_DRAWS:
        return RocBand(mean[0], None, None)
    low, high = np.percentile(drawn, _TAILS, axis=0)
    return RocBand(mean[0], low, high)


def _roc(test: ClassifiedPatients, weights: Floats) -> Floats:
    """Return the curve of each draw (B, 101), the mean over the scored classes; nan where none is defined."""
    order = {patient: k for k, patient in enumerate(sorted(test.patients))}
    drawn = weights[:, [order[patient] for patient in test.patients]][:, test.owner]
    classes = test.probabilities.shape[1]
    scored = [1] if classes == 2 else range(classes)
    parts = [(test.probabilities[:, c], test.truth == c) for c in scored]
    curves = np.stack([_class_roc(scores, drawn * positive, drawn * ~positive) for scores, positive in parts])
    defined = np.isfinite(curves[:, :, :1])
    total, count = np.where(defined, curves, 0.0).sum(axis=0), defined.sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _class_roc(scores: Floats, positive: Floats, negative: Floats) -> Floats:
    """Return the sensitivity at each point of the grid; scores are (U,), weights of the images with and without it (B, U)."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of images with the same score
    found, false = (np.cumsum(each[:, order], axis=1)[:, ends] for each in (positive, negative))
    curves = np.full((len(found), len(GRID)), np.nan)
    for k in np.flatnonzero((found[:, -1] > 0) & (false[:, -1] > 0)):
        x, y = np.append(0.0, false[k] / false[k, -1]), np.append(0.0, found[k] / found[k, -1])
        curves[k] = np.interp(GRID, x, y)
    return curves
