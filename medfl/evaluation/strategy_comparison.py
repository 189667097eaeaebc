"""Comparison of federated strategies with training alone and in one place, on the same patients (`medfl compare`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfl.evaluation.arm_differences import ArmDifference, compare_pairs
from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import DRAWS, Floats, Interval, confidence_interval, draw_weights
from medfl.evaluation.hospital_scores import score_by_hospital, spread_weights


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
    scores = {id(run): score_by_hospital(run.test, spread_weights(weights, common, run.test)) for run in runs}
    summaries = [
        _summary(title, list(each.values()), len(common), np.mean([scores[id(run)] for run in each.values()], axis=0))
        for title, each in by_title.items()
    ]
    return tuple(summaries), compare_pairs(by_title, scores, common)


def _summary(title: str, runs: Sequence[ArmRun], patients: int, scores: Floats) -> ArmSummary:
    steps, samples, sent = (round(math.fsum(values) / len(runs)) for values in zip(*map(_work_of, runs), strict=True))
    return ArmSummary(title, len(runs), patients, float(scores[0]), confidence_interval(scores[1:]), steps, samples, sent)


def _work_of(run: ArmRun) -> tuple[int, int, int]:
    return run.steps, run.samples, run.bytes
