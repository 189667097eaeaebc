"""Bootstrap of test scores over patients: what they might have been with other patients (Efron and Tibshirani 1993).

It needs the scores of single patients, which stay at the hospitals; a simulation keeps them in the sites' folders of the run.
Weights say how often each patient is drawn. All models are scored on the same draws, so that the difference of two models is
resampled on the same patients, which separates them better than their own intervals do.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from medfl.evaluation.patient_results import Patient, read_patient_results
from medfl.study import Study

Floats = NDArray[np.float64]
Interval = tuple[float, float]

DRAWS = 1000
_TAILS = (2.5, 97.5)  # percent


@dataclass(frozen=True, eq=False)
class PatientScores(ABC):
    """Results of one model on every test patient.

    Parameters
    ----------
    patients : tuple of (str, str)
        Site and pseudonym of each of P patients.
    """

    patients: tuple[Patient, ...]

    @abstractmethod
    def score(self, weights: Floats) -> Floats:
        """Return the score of the study for each draw.

        Parameters
        ----------
        weights : ndarray of float, shape (B, P)
            Number of times that each patient is in each draw.

        Returns
        -------
        ndarray of float, shape (B,)
            Nan where it is not defined.
        """

    @abstractmethod
    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the results of the patients with these indices, in their order; each index once."""


@dataclass(frozen=True, eq=False)
class SegmentedPatients(PatientScores):
    """Dice by patient and class.

    Parameters
    ----------
    dice : ndarray of float, shape (P, C)
        Nan for a class that nobody annotated.
    """

    dice: Floats

    def score(self, weights: Floats) -> Floats:
        """Return the mean over the classes of the mean Dice over patients."""
        seen = np.isfinite(self.dice)
        return _mean_defined(ratio(weights @ np.where(seen, self.dice, 0.0), weights @ seen.astype(np.float64)))

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the results of the patients with these indices, in their order."""
        return replace(self, patients=tuple(self.patients[k] for k in indices), dice=self.dice[indices])


@dataclass(frozen=True, eq=False)
class ClassifiedPatients(PatientScores):
    """Class probabilities, one row for each label that a patient has.

    Parameters
    ----------
    owner : ndarray of int, shape (U,)
        Index of the patient of each of U rows.
    truth : ndarray of int, shape (U,)
        The label.
    probabilities : ndarray of float, shape (U, C)
        Probabilities that the model gives.
    """

    owner: NDArray[np.int64]
    truth: NDArray[np.int64]
    probabilities: Floats

    def score(self, weights: Floats) -> Floats:
        """Return the AUROC of the second of two classes, or the mean over more than two, each against the rest."""
        classes = self.probabilities.shape[1]
        scored = [1] if classes == 2 else list(range(classes))
        drawn = weights[:, self.owner]
        return _mean_defined(np.stack([_auroc(self.probabilities[:, c], self.truth == c, drawn) for c in scored], axis=1))

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the results of the patients with these indices, in their order."""
        place = np.full(len(self.patients), -1)
        place[indices] = np.arange(len(indices))
        rows = np.flatnonzero(place[self.owner] >= 0)
        patients = tuple(self.patients[k] for k in indices)
        return replace(
            self,
            patients=patients,
            owner=place[self.owner[rows]],
            truth=self.truth[rows],
            probabilities=self.probabilities[rows],
        )


def read_patient_scores(run: Path, study: Study, arm: str = "federated", owner: str = "") -> PatientScores | None:
    """Read the results of the shared model of a run, or of each site's own in the arm "local", on every test patient.

    Patients of external hospitals are not among them (`medfl.evaluation.external_scores`).

    Parameters
    ----------
    run : Path
        The run folder.
    study : Study
        What was run.
    arm : str
        Arm of the comparison.
    owner : str
        Of the arm "local", the site whose model was tested at every site, instead of each site's own.

    Returns
    -------
    PatientScores or None
        None when the run has no such files, as in a real federation.

    Raises
    ------
    RunError
        ``TEST-DAMAGED`` when a file cannot be read.
    """
    results = read_patient_results(run, arm=arm, owner=owner, external=study.evaluation.external)
    return as_patient_scores(results, study) if results else None


def as_patient_scores(results: dict[Patient, Any], study: Study) -> PatientScores:
    """Return the results of one model on some test patients, which come as `read_patient_results` returns them."""
    return (_read_segmented if study.task.kind == "segmentation" else _read_classified)(results, study)


def all_patients(tests: Iterable[PatientScores]) -> tuple[Patient, ...]:
    """Return the patients of several tests, each once."""
    return tuple(sorted({patient for test in tests for patient in test.patients}))


def draw_weights(patients: Sequence[Patient], draws: int = DRAWS, seed: int = 0, *, by_hospital: bool = False) -> Floats:
    """Draw as many patients as there are, with replacement, many times.

    Parameters
    ----------
    patients : sequence of (str, str)
        Patients of all hospitals.
    draws : int
        Number of draws.
    seed : int
        Seed of the random draws.
    by_hospital : bool
        Whether each draw has as many patients of each hospital as there are. Of n patients n - 1 are drawn, and each counts
        n / (n - 1) times, or else intervals would be too narrow where n is small (Rao and Wu 1988). Hospitals of one patient
        are drawn as one hospital.

    Returns
    -------
    ndarray of float, shape (draws, len(patients))
        How often each patient counts in each draw.
    """
    rng, count = np.random.default_rng(seed), len(patients)
    if not by_hospital:
        return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    weights = np.ones((draws, count))
    for own in strata_of(patients):
        size = len(own)
        weights[:, own] = rng.multinomial(size - 1, np.full(size, 1 / size), size=draws) * (size / (size - 1))
    return weights


def strata_of(patients: Sequence[Patient]) -> list[NDArray[np.int64]]:
    """Return the indices of the patients of each hospital, those of single patients together; none of one patient in all."""
    hospitals = np.array([hospital for hospital, _ in patients])
    found = [np.flatnonzero(hospitals == hospital) for hospital in np.unique(hospitals)]
    strata = sorted((own for own in found if len(own) > 1), key=len)
    alone = [own for own in found if len(own) == 1]
    if len(alone) == 1 and strata:
        alone.append(strata.pop(0))
    return [*strata, np.concatenate(alone)] if len(alone) > 1 else strata


def confidence_interval(values: Floats) -> Interval | None:
    """Return the middle 95 % of resampled values, None unless they are defined in nearly all draws."""
    defined = values[np.isfinite(values)]
    if len(defined) < 0.95 * len(values) or not len(defined):
        return None
    low, high = np.percentile(defined, _TAILS)
    return float(low), float(high)


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return the quotient of two arrays of one shape, nan where the whole is zero."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _read_segmented(results: dict[Patient, Any], study: Study) -> SegmentedPatients:
    dice = [
        [_number(of_one["classes"].get(name, {}).get("dice")) for name in study.task.foreground] for of_one in results.values()
    ]
    return SegmentedPatients(tuple(results), np.array(dice, dtype=np.float64))


def _read_classified(results: dict[Patient, Any], study: Study) -> ClassifiedPatients:
    names = study.task.classes
    units = [(k, unit) for k, of_one in enumerate(results.values()) for unit in of_one]
    return ClassifiedPatients(
        tuple(results),
        np.array([k for k, _ in units], dtype=np.int64),
        np.array([names.index(unit["truth"]) for _, unit in units], dtype=np.int64),
        np.array([[unit["probabilities"][name] for name in names] for _, unit in units], dtype=np.float64),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _auroc(scores: Floats, positive: NDArray[np.bool_], drawn: Floats) -> Floats:
    """Return the AUROC of each draw: the share of pairs in the right order, ties counting half."""
    values, group = np.unique(scores, return_inverse=True)
    ups, downs = np.zeros((len(values), len(drawn))), np.zeros((len(values), len(drawn)))
    np.add.at(ups, group[positive], drawn.T[positive])
    np.add.at(downs, group[~positive], drawn.T[~positive])
    below = np.cumsum(downs, axis=0) - downs
    return ratio((ups * (below + downs / 2)).sum(axis=0), ups.sum(axis=0) * downs.sum(axis=0))


def _mean_defined(values: Floats) -> Floats:
    """Return the mean of each row (B, C) over the columns that are defined."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
