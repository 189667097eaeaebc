"""Comparison of federated strategies with training alone and in one place, on the same patients (`medfl compare`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medfl.evaluation.arm_differences import ArmDifference, compare_pairs
from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import ClassifiedPatients, Floats, Interval, confidence_interval
from medfl.evaluation.calibration import Calibration, calibrate
from medfl.evaluation.complete_runs import keep_complete
from medfl.evaluation.hospital_scores import HospitalScore, find_lowest, summarize_hospitals
from medfl.evaluation.scored_runs import ScoredRun, score_runs
from medfl.evaluation.subgroup_scores import Groups, SubgroupScore, score_subgroups


@dataclass(frozen=True)
class ArmSummary:
    """An arm over all seeds.

    Parameters
    ----------
    title : str
        Arm and strategy.
    arm, strategy : str
        As in `ArmRun`.
    seeds, patients : int
        How many there are; the patients are those of all arms.
    score : float
        Mean over the seeds.
    interval : (float, float), optional
        Its 95 % interval over patients, which knows nothing of seeds.
    seed_scores : mapping of int to float
        Score of each seed on the same patients.
    seed_sd : float, optional
        Standard deviation of these scores; None with one seed.
    hospitals : tuple of HospitalScore
        Every hospital with test patients.
    lowest_hospital : HospitalScore, optional
        The one of the lowest score, whose joint interval knows that it was chosen.
    subgroups : tuple of SubgroupScore
        Groups of patients, where the simulation names columns for them.
    calibration : Calibration, optional
        Of a classification.
    steps, samples, bytes : int
        The work of one seed, as in `ArmRun`.
    """

    title: str
    arm: str
    strategy: str
    seeds: int
    patients: int
    score: float
    interval: Interval | None
    seed_scores: Mapping[int, float]
    seed_sd: float | None
    hospitals: tuple[HospitalScore, ...]
    lowest_hospital: HospitalScore | None
    subgroups: tuple[SubgroupScore, ...]
    calibration: Calibration | None
    steps: int
    samples: int
    bytes: int


def summarize(
    runs: Sequence[ArmRun], margin: float = 0.0, groups: Groups | None = None
) -> tuple[tuple[ArmSummary, ...], tuple[ArmDifference, ...]]:
    """Summarize each arm over its seeds, and compare each federated one with the others on the same patients.

    Intervals are over patients: the same draws for all arms, with the mean over the seeds in each draw, and as many patients of
    each hospital as there are. Seeds are no patients: they do not narrow an interval.

    Parameters
    ----------
    runs : sequence of ArmRun
        Arms of all seeds; what `medfl.evaluation.complete_runs.keep_complete` leaves out of them counts in none.
    margin : float
        Difference that the study calls small enough to be no worse than pooled training; 0: it names none.
    groups : mapping, optional
        Groups of patients that are scored apart, as for `score_subgroups`.
    """
    kept, _ = keep_complete(runs)
    if not kept:
        return (), ()
    by_title, weights = score_runs(kept)
    summaries = tuple(_summary(list(each.values()), weights, groups or {}) for each in by_title.values())
    return summaries, compare_pairs(by_title, weights, margin)


def at_external_hospitals(runs: Sequence[ArmRun]) -> list[ArmRun]:
    """Return runs with the patients of external hospitals instead of the test patients; none where there are none."""
    return [replace(run, test=run.external[0], more_tests=run.external[1:]) for run in runs if run.external]


def _summary(scored: Sequence[ScoredRun], weights: Floats, groups: Groups) -> ArmSummary:
    runs = [each.run for each in scored]
    scores = np.mean([each.scores for each in scored], axis=0)
    seed_scores = {each.run.seed: float(each.scores[0]) for each in scored}
    patients = runs[0].test.patients
    by_hospital = {
        hospital: np.mean([each.by_hospital[hospital] for each in scored], axis=0) for hospital in scored[0].by_hospital
    }
    hospitals = summarize_hospitals(by_hospital, Counter(hospital for hospital, _ in patients))
    tests = [test for run in runs for test in run.tests]
    classified = [test for test in tests if isinstance(test, ClassifiedPatients)]
    several = any(run.more_tests for run in runs)  # models of a seed: with 50 hospitals their intervals would take long
    steps, samples, sent = (round(math.fsum(values) / len(runs)) for values in zip(*map(_work_of, runs), strict=True))
    return ArmSummary(
        title=runs[0].title,
        arm=runs[0].arm,
        strategy=runs[0].strategy,
        seeds=len(runs),
        patients=len(patients),
        score=float(scores[0]),
        interval=confidence_interval(scores[1:]),
        seed_scores=seed_scores,
        seed_sd=float(np.std(list(seed_scores.values()), ddof=1)) if len(runs) > 1 else None,
        hospitals=hospitals,
        lowest_hospital=find_lowest(hospitals),
        subgroups=tuple(score_subgroups(tests, weights, groups)),
        calibration=calibrate(classified, weights, with_interval=not several) if classified and patients else None,
        steps=steps,
        samples=samples,
        bytes=sent,
    )


def _work_of(run: ArmRun) -> tuple[int, int, int]:
    return run.steps, run.samples, run.bytes
