"""Runs of the arms of a comparison, scored on the same draws of the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import DRAWS, Floats, draw_weights
from medfl.evaluation.hospital_scores import score_by_hospital, scores_of_hospitals


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """One arm of one run, scored on the patients as they are and then on each of B draws.

    Parameters
    ----------
    run : ArmRun
        The arm, with the patients that all runs have, in the same order.
    scores : ndarray of float, shape (1 + B,)
        Score over all hospitals.
    by_hospital : mapping of str to ndarray of float, shape (1 + B,)
        Score at each hospital.
    """

    run: ArmRun
    scores: Floats
    by_hospital: Mapping[str, Floats]


def score_runs(runs: Sequence[ArmRun]) -> tuple[dict[str, dict[int, ScoredRun]], Floats]:
    """Score runs on the patients that all of them have.

    Parameters
    ----------
    runs : sequence of ArmRun
        Arms of all seeds, at least one.

    Returns
    -------
    by_title : dict of str to dict of int to ScoredRun
        By title of the arm, and seed.
    weights : ndarray of float, shape (1 + B, P)
        How often each patient is in each draw, after a row of ones; B is 0 with one patient, who tells nothing of others.
    """
    common = sorted(set.intersection(*(set(run.test.patients) for run in runs)))
    draws = draw_weights(common, DRAWS if len(common) > 1 else 0, by_hospital=True)
    weights = np.concatenate([np.ones((1, len(common))), draws])
    by_title: dict[str, dict[int, ScoredRun]] = {}
    for run in runs:
        place = {patient: k for k, patient in enumerate(run.test.patients)}
        test = run.test.take(np.array([place[patient] for patient in common], dtype=np.int64))
        by_hospital = scores_of_hospitals(test, weights)
        scored = ScoredRun(replace(run, test=test), score_by_hospital(test, weights, by_hospital), by_hospital)
        by_title.setdefault(run.title, {})[run.seed] = scored
    return by_title, weights
