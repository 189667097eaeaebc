"""Test patients of a comparison, read from its ``patients.csv``: by arm, seed and hospital."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, PatientScores, SegmentedPatients
from medfl.study import Study

_Rows = dict[str, list[dict[str, str]]]  # of each patient


@dataclass(frozen=True, eq=False)
class ArmTest:
    """Scores of the test patients of one arm by one model of one seed, apart for each hospital where it counts."""

    seed: int
    by_hospital: Mapping[str, PatientScores]


def read_arm_tests(file: Path, study: Study) -> dict[str, tuple[ArmTest, ...]]:
    """Read the scores of all test patients but those of external hospitals, by the title of their arm.

    Parameters
    ----------
    file : Path
        The ``patients.csv`` of a comparison.
    study : Study
        Gives the kind of task and the classes.
    """
    found: dict[str, dict[tuple[int, str], dict[str, _Rows]]] = {}
    with file.open(newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            if row.get("external"):  # they are compared apart, and by each model of an arm
                continue
            title = f"{row['arm']} {row['strategy']}".strip()
            hospitals = found.setdefault(title, {}).setdefault((int(row["seed"]), row["model"]), {})
            hospitals.setdefault(row["hospital"], {}).setdefault(row["patient"], []).append(row)
    return {
        title: tuple(
            ArmTest(seed, {hospital: _to_scores(hospital, rows, study) for hospital, rows in hospitals.items()})
            for (seed, _), hospitals in models.items()
        )
        for title, models in found.items()
    }


def patient_values(tests: Iterable[ArmTest], hospitals: Iterable[str]) -> dict[tuple[str, str], float]:
    """Return the Dice over classes of each patient, or the probability of the true class, mean over seeds and models."""
    values: dict[tuple[str, str], list[float]] = {}
    chosen = set(hospitals)
    for test in tests:
        for hospital, scores in test.by_hospital.items():
            if hospital in chosen:
                for patient, value in zip(scores.patients, _values(scores), strict=True):
                    values.setdefault(patient, []).append(float(value))
    means = {patient: math.fsum(each) / len(each) for patient, each in values.items()}
    return {patient: value for patient, value in means.items() if math.isfinite(value)}


def _values(scores: PatientScores) -> Floats:
    if isinstance(scores, SegmentedPatients):
        seen = np.isfinite(scores.dice)
        total, count = np.where(seen, scores.dice, 0.0).sum(axis=1), seen.sum(axis=1)
    else:
        assert isinstance(scores, ClassifiedPatients)
        true = scores.probabilities[np.arange(len(scores.truth)), scores.truth]
        total = np.bincount(scores.owner, true, len(scores.patients))
        count = np.bincount(scores.owner, minlength=len(scores.patients))
    means: Floats = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return means


def _to_scores(hospital: str, rows: _Rows, study: Study) -> PatientScores:
    patients = tuple((hospital, patient) for patient in rows)
    if study.task.kind == "segmentation":
        dice = [{row["class"]: _to_float(row["value"]) for row in of_one} for of_one in rows.values()]
        return SegmentedPatients(patients, np.array([[of_one[name] for name in study.task.foreground] for of_one in dice]))
    size = len(study.task.classes)  # a patient has one unit for each label, and each unit one row for each class
    starts = [(k, of_one, start) for k, of_one in enumerate(rows.values()) for start in range(0, len(of_one), size)]
    units = [(k, of_one[start : start + size]) for k, of_one, start in starts]
    place = {name: column for column, name in enumerate(study.task.classes)}
    truth, probabilities = np.zeros(len(units), dtype=np.int64), np.full((len(units), size), math.nan)
    for number, (_, unit) in enumerate(units):
        for row in unit:
            probabilities[number, place[row["class"]]] = _to_float(row["value"])
            if row["truth"] == "1":
                truth[number] = place[row["class"]]
    return ClassifiedPatients(patients, np.array([k for k, _ in units], dtype=np.int64), truth, probabilities)


def _to_float(text: str) -> float:
    return float(text) if text else math.nan
