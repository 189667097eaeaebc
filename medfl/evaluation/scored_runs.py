"""Runs of the arms of a comparison, scored on the same draws of the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        The arm.
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
        Arms of all seeds, at least one, of the same patients in the same order (`medfl.evaluation.complete_runs`).

    Returns
    -------
    by_title : dict of str to dict of int to ScoredRun
        By title of the arm, and seed.
    weights : ndarray of float, shape (1 + B, P)
        How often each patient is in each draw, after a row of ones; B is 0 with one patient, who tells nothing of others.
    """
    common = runs[0].test.patients
    draws = draw_weights(common, DRAWS if len(common) > 1 else 0, by_hospital=True)
    weights = np.concatenate([np.ones((1, len(common))), draws])
    by_title: dict[str, dict[int, ScoredRun]] = {}
    for run in runs:
        each_by_hospital = [scores_of_hospitals(one, weights) for one in run.tests]
        each_score = [score_by_hospital(one, weights, by) for one, by in zip(run.tests, each_by_hospital, strict=True)]
        by_hospital = {name: np.mean([by[name] for by in each_by_hospital], axis=0) for name in each_by_hospital[0]}
        by_title.setdefault(run.title, {})[run.seed] = ScoredRun(run, np.mean(each_score, axis=0), by_hospital)
    return by_title, weights
