"""Scores of the patients of external hospitals, whom no model has seen and by whom none was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medfl.evaluation.bootstrap import DRAWS, Interval, PatientScores, as_patient_scores, confidence_interval, draw_weights
from medfl.evaluation.hospital_scores import score_by_hospital
from medfl.evaluation.patient_results import read_external_results
from medfl.study import Study


def read_external_scores(run: Path, study: Study, arm: str = "federated") -> tuple[PatientScores, ...]:
    """Read the results of an arm on every patient of the external hospitals of a run.

    Parameters
    ----------
    run : Path
        The run folder.
    study : Study
        What was run.
    arm : str
        Arm of the comparison.

    Returns
    -------
    tuple of PatientScores
        One for each model: several where each hospital has a model of its own, of which those that were not tested on every
        patient are left out. Their mean is what one can expect of any one of them; it is no ensemble. Empty without an external
        hospital, or without such files.

    Raises
    ------
    RunError
        ``TEST-DAMAGED`` when a file cannot be read.
    """
    found = read_external_results(run, arm, study.evaluation.external).values()
    most = max(map(len, found), default=0)
    return tuple(as_patient_scores(results, study) for results in found if len(results) == most)


def score_with_interval(tests: Sequence[PatientScores]) -> tuple[float, Interval | None]:
    """Return the mean score of some models over all patients, and its 95 % interval over other patients of these hospitals.

    Parameters
    ----------
    tests : sequence of PatientScores
        One for each model, at least one, all of the same patients in the same order.
    """
    patients = tests[0].patients
    draws = draw_weights(patients, DRAWS if len(patients) > 1 else 0, by_hospital=True)
    weights = np.concatenate([np.ones((1, len(patients))), draws])
    scores = np.mean([score_by_hospital(test, weights) for test in tests], axis=0)
    return float(scores[0]), confidence_interval(scores[1:])
