"""Differences of the arms of a comparison on the same patients, and what may be said of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medfl.evaluation.bootstrap import Floats, Interval, confidence_interval, strata_of
from medfl.evaluation.effect_size import EffectSize, effect_of
from medfl.evaluation.paired_tests import holm, paired_p_value
from medfl.evaluation.patient_results import Patient
from medfl.evaluation.patients_needed import PatientsNeeded, patients_needed
from medfl.evaluation.scored_runs import ScoredRun

LEVEL = 0.05  # of the tests, all comparisons together
MIN_PATIENTS = 20  # for "not inferior": with fewer, differences that are skewed break its level (docs/compare.md)


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
    effect : EffectSize
        How large the difference is.
    verdict : {"higher", "lower", "not known"}
        What the first arm is where the test and the interval both say so.
    needed : PatientsNeeded, optional
        About how many test patients would tell; None where it is known, and where no number would.
    margin : float, optional
        The margin that the study names, where a federated arm is compared with the pooled one.
    not_inferior : bool, optional
        Whether the interval, and Student's t limit, are above minus the margin; False is "not shown", as it always is with
        fewer than `MIN_PATIENTS` patients or without a p-value; None without a margin.
    """

    first: str
    second: str
    difference: float
    interval: Interval | None
    p_value: float | None
    effect: EffectSize
    verdict: str
    needed: PatientsNeeded | None
    margin: float | None
    not_inferior: bool | None


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two arms on the seeds of both: the difference of each draw (1 + B,), its p-value, its effect, and the lower limit."""

    first: str
    second: str
    second_arm: str
    differences: Floats
    p_value: float | None
    effect: EffectSize
    lower_limit: float


def compare_pairs(
    by_title: Mapping[str, Mapping[int, ScoredRun]], weights: Floats, margin: float = 0.0
) -> tuple[ArmDifference, ...]:
    """Compare arms on the seeds that both completed: one whose run failed in an arm counts in neither.

    Each federated arm is compared with those without a strategy and with its own fine-tuned one; the first of them also with
    the other federated ones.

    Parameters
    ----------
    by_title, weights
        What `medfl.evaluation.scored_runs.score_runs` gives.
    margin : float
        As for `medfl.evaluation.strategy_comparison.summarize`.
    """
    arms = {title: next(iter(each.values())).run.arm for title, each in by_title.items()}
    federated = [title for title, arm in arms.items() if arm == "federated"]
    others = [title for title in by_title if title not in federated]
    own = {title: next(iter(each.values())).run.strategy for title, each in by_title.items()}
    against = [pair for pair in itertools.product(federated, others) if own[pair[1]] in ("", own[pair[0]])]
    pairs = []
    for one, two in [*against, *((federated[0], other) for other in federated[1:])]:
        seeds = sorted(by_title[one].keys() & by_title[two].keys())
        if seeds:
            first, second = ([by_title[title][seed] for seed in seeds] for title in (one, two))
            pairs.append(_compare(first, second, weights))
    corrected = holm([pair.p_value for pair in pairs])
    count, patients = len(pairs), weights.shape[1]
    return tuple(_judge(pair, p_value, count, patients, margin) for pair, p_value in zip(pairs, corrected, strict=True))


def _compare(first: Sequence[ScoredRun], second: Sequence[ScoredRun], weights: Floats) -> _Pair:
    differences = np.mean([a.scores - b.scores for a, b in zip(first, second, strict=True)], axis=0)
    tests, others = ([test for each in arm for test in each.run.tests] for arm in (first, second))
    effect = effect_of(tests, others, differences, weights)
    one, two = first[0].run, second[0].run
    p_value, limit = paired_p_value(tests, others), lower_limit(differences, one.test.patients)
    return _Pair(one.title, two.title, two.arm, differences, p_value, effect, limit)


def lower_limit(differences: Floats, patients: Sequence[Patient]) -> float:
    """Return the limit that a difference is above, at a level of 0.025: the lower of those of the bootstrap and of Student's t.

    Percentiles alone are too near with few patients. The t limit has the error of the bootstrap, and as degrees of freedom the
    patients less the hospitals.

    Parameters
    ----------
    differences : ndarray of float, shape (1 + B,)
        The difference of the patients as they are, and of each draw.
    patients : sequence of (str, str)
        Hospital and pseudonym.

    Returns
    -------
    float
        Minus infinity where it is not known, and with fewer than `MIN_PATIENTS` patients.
    """
    interval, freedom = confidence_interval(differences[1:]), len(patients) - len(strata_of(patients))
    if interval is None or len(patients) < MIN_PATIENTS:
        return -math.inf
    error = float(np.nanstd(differences[1:], ddof=1))
    reach = float(stats.t.isf(LEVEL / 2, max(1, freedom))) * error
    return min(interval[0], float(differences[0]) - reach)


def _judge(pair: _Pair, p_value: float | None, comparisons: int, patients: int, margin: float) -> ArmDifference:
    difference, interval = float(pair.differences[0]), confidence_interval(pair.differences[1:])
    verdict = "not known"
    if interval is not None and not interval[0] <= 0 <= interval[1] and p_value is not None and p_value < LEVEL:
        verdict = "higher" if interval[0] > 0 else "lower"
    needed = None
    if verdict == "not known" and interval is not None and p_value is not None:
        error = float(np.nanstd(pair.differences[1:], ddof=1))
        needed = patients_needed(difference, error, patients, margin, LEVEL / comparisons)
    limit = -math.inf if p_value is None else pair.lower_limit
    margin_of_pair = margin if margin > 0 and pair.second_arm == "pooled" else None
    return ArmDifference(
        first=pair.first,
        second=pair.second,
        difference=difference,
        interval=interval,
        p_value=p_value,
        effect=pair.effect,
        verdict=verdict,
        needed=needed,
        margin=margin_of_pair,
        not_inferior=None if margin_of_pair is None else limit > -margin_of_pair,
    )
