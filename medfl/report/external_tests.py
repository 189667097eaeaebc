"""Tests of a simulation at external hospitals, which took part neither in training nor in the choice of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfl.errors import MedflError
from medfl.evaluation.bootstrap import Interval
from medfl.evaluation.external_scores import read_external_scores, score_with_interval
from medfl.study import Study


@dataclass(frozen=True)
class ExternalTest:
    """Score of an arm on the patients of all external hospitals, its 95 % interval, and the score and patients of each.

    `models` is their number: 1, or one for each hospital that trained alone, of which the score is the mean.
    """

    arm: str
    models: int
    patients: Mapping[str, int]
    score: float
    interval: Interval | None
    by_site: Mapping[str, float]


def read_external_tests(run: Path, study: Study) -> tuple[ExternalTest, ...]:
    """Return the test of each arm at the external hospitals of a run; none where there are none, or no scores of patients."""
    return tuple(_read_tests(run, study)) if study.evaluation.external else ()


def _read_tests(run: Path, study: Study) -> Iterator[ExternalTest]:
    for arm in study.arms:
        try:
            tests = read_external_scores(run, study, arm)
        except (MedflError, KeyError, TypeError, ValueError):  # a damaged file leaves out its arm alone
            continue
        if not tests:
            continue
        sites = [site for site, _ in tests[0].patients]
        own = {site: np.array([[each == site for each in sites]], dtype=np.float64) for site in sorted(set(sites))}
        score, interval = score_with_interval(tests)
        by_site = {site: float(np.mean([test.score(w)[0] for test in tests])) for site, w in own.items()}
        yield ExternalTest(arm, len(tests), {site: sites.count(site) for site in own}, score, interval, by_site)
