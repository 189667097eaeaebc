"""Comparison of federated strategies with training alone and in one place, on the same patients (`medfl compare`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfl.evaluation.bootstrap import (
    DRAWS,
    Floats,
    PatientScores,
    SegmentedPatients,
    confidence_interval,
    draw_weights,
    read_patient_scores,
)
from medfl.evaluation.paired_tests import holm, paired_p_value
from medfl.evaluation.patient_results import Patient, read_patient_results
from medfl.messages.records import TRAIN_SAMPLES, TRAIN_STEPS
from medfl.runs.history import Event, read_history
from medfl.simulation.strategy_specs import LOCAL
from medfl.simulation.sweep_runner import RunResult
from medfl.study import Study

LEVEL = 0.05  # of the tests, all comparisons together

Interval = tuple[float, float]
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ArmRun:
    """One arm of one run.

    Parameters
    ----------
    arm : str
        "federated", "local" or "pooled".
    strategy : str
        Specification of the strategy; empty without one.
    seed : int
        Seed of the study.
    steps, samples : int
        Optimizer steps, and passes through training cases, of all hospitals together.
    bytes : int
        Sent both ways; 0 where nothing need be sent.
    test : PatientScores
        Scores of the test patients.
    """

    arm: str
    strategy: str
    seed: int
    steps: int
    samples: int
    bytes: int
    test: PatientScores

    @property
    def title(self) -> str:
        """Arm and strategy, which name it beside others."""
        return f"{self.arm} {self.strategy}".strip()


@dataclass(frozen=True)
class ArmSummary:
    """An arm over all seeds: its mean score over the patients of all arms, the 95 % interval, and the work of one seed."""

    title: str
    seeds: int
    patients: int
    score: float
    interval: Interval | None
    steps: int
    samples: int
    bytes: int


@dataclass(frozen=True)
class ArmDifference:
    """Score of one arm minus that of another on the same patients.

    Parameters
    ----------
    first, second : str
        Titles of the arms.
    difference : float
        Difference of their scores.
    interval : (float, float), optional
        Its 95 % interval, not corrected for the number of comparisons.
    p_value : float, optional
        That of no difference, corrected for the number of comparisons (`medfl.evaluation.paired_tests`).
    """

    first: str
    second: str
    difference: float
    interval: Interval | None
    p_value: float | None

    @property
    def verdict(self) -> str:
        """Return "higher" or "lower" where the test and the interval both say so, otherwise "not known"."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1] or self.p_value is None or self.p_value >= LEVEL:
            return "not known"
        return "higher" if self.interval[0] > 0 else "lower"


def read_arm_runs(results: Iterable[RunResult], study: Study) -> Iterator[tuple[ArmRun, list[Row]]]:
    """Yield each arm of the completed runs, with one row for each test patient and class.

    Raises
    ------
    RunError
        When a history or a file of test scores cannot be read.
    """
    for result in (each for each in results if each.status == "completed"):
        spec, seed, events = result.planned.spec, result.planned.seed, read_history(result.run)
        for arm in result.planned.simulation.study.arms:
            test = read_patient_scores(result.run, study, arm)
            if test is None:
                continue
            rounds = [event for event in events if event["event"] == "round" and event["arm"] == arm]
            sent = sum(e.get("bytes-up", 0) + e.get("bytes-down", 0) for e in rounds) if arm == "federated" else 0
            strategy = "" if spec.name == LOCAL else spec.text
            steps, samples = (_sum_of(rounds, key) for key in (TRAIN_STEPS, TRAIN_SAMPLES))
            run = ArmRun(arm, strategy, seed, steps, samples, sent, test)
            head = {"arm": arm, "strategy": strategy, "seed": seed}
            scored = read_patient_results(result.run, arm=arm)
            yield run, [head | row for patient, of_one in scored.items() for row in _patient_rows(patient, of_one, study)]


def summarize(runs: Sequence[ArmRun]) -> tuple[tuple[ArmSummary, ...], tuple[ArmDifference, ...]]:
    """Summarize each arm over its seeds, and compare each federated one with the others on the same patients.

    Intervals are over patients: the same draws for all arms, with the mean over the seeds in each draw, and as many patients of
    each hospital as there are. Seeds are no patients: they do not narrow an interval.

    Parameters
    ----------
    runs : sequence of ArmRun
        Arms of all seeds.
    """
    if not runs:
        return (), ()
    common = sorted(set.intersection(*(set(run.test.patients) for run in runs)))
    draws = draw_weights(common, DRAWS if len(common) > 1 else 0, by_hospital=True)  # one patient tells nothing of others
    weights = np.concatenate([np.ones((1, len(common))), draws])
    by_title: dict[str, dict[int, ArmRun]] = {}
    for run in runs:
        by_title.setdefault(run.title, {})[run.seed] = run
    scores = {id(run): score_by_hospital(run.test, _spread(weights, common, run.test)) for run in runs}
    summaries = [
        _summary(title, list(each.values()), len(common), np.mean([scores[id(run)] for run in each.values()], axis=0))
        for title, each in by_title.items()
    ]
    return tuple(summaries), _compare_pairs(by_title, scores, common)


def _compare_pairs(
    by_title: Mapping[str, Mapping[int, ArmRun]], scores: Mapping[int, Floats], common: Sequence[Patient]
) -> tuple[ArmDifference, ...]:
    """Compare arms on the seeds that both completed: one whose run failed in an arm counts in neither."""
    federated = [title for title, each in by_title.items() if next(iter(each.values())).arm == "federated"]
    others = [title for title in by_title if title not in federated]
    compared = []
    for one, two in [*itertools.product(federated, others), *((federated[0], other) for other in federated[1:])]:
        seeds = sorted(by_title[one].keys() & by_title[two].keys())
        if seeds:
            first, second = ([by_title[title][seed] for seed in seeds] for title in (one, two))
            difference = np.mean([scores[id(a)] - scores[id(b)] for a, b in zip(first, second, strict=True)], axis=0)
            p_value = paired_p_value([run.test for run in first], [run.test for run in second], common)
            compared.append((one, two, difference, p_value))
    corrected = holm([p_value for *_, p_value in compared])
    return tuple(
        _difference(one, two, difference, p_value)
        for (one, two, difference, _), p_value in zip(compared, corrected, strict=True)
    )


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


def _spread(weights: Floats, common: Sequence[Patient], test: PatientScores) -> Floats:
    """Return the weights in the order of the patients of a test, 0 for those that another arm lacks."""
    place = {patient: k for k, patient in enumerate(common)}
    spread = np.zeros((len(weights), len(test.patients)))
    for k, patient in enumerate(test.patients):
        if patient in place:
            spread[:, k] = weights[:, place[patient]]
    return spread


def _summary(title: str, runs: Sequence[ArmRun], patients: int, scores: Floats) -> ArmSummary:
    steps, samples, sent = (round(math.fsum(values) / len(runs)) for values in zip(*map(_work_of, runs), strict=True))
    return ArmSummary(title, len(runs), patients, float(scores[0]), confidence_interval(scores[1:]), steps, samples, sent)


def _work_of(run: ArmRun) -> tuple[int, int, int]:
    return run.steps, run.samples, run.bytes


def _difference(first: str, second: str, differences: Floats, p_value: float | None) -> ArmDifference:
    return ArmDifference(first, second, float(differences[0]), confidence_interval(differences[1:]), p_value)


def _sum_of(rounds: Iterable[Event], key: str) -> int:
    return sum(int((answer.get("metrics") or {}).get(key) or 0) for event in rounds for answer in event["sites"].values())


def _patient_rows(patient: Patient, result: Any, study: Study) -> Iterator[Row]:
    """Yield the Dice of each class, or the probability of each class with whether it is the true one."""
    where = {"hospital": patient[0], "patient": patient[1]}
    if study.task.kind == "segmentation":
        for name in study.task.foreground:
            yield where | {"class": name, "truth": "", "value": result["classes"].get(name, {}).get("dice")}
        return
    for unit in result:
        for name in study.task.classes:
            yield where | {"class": name, "truth": int(unit["truth"] == name), "value": unit["probabilities"][name]}
