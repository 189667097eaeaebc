"""Comparison of the federated model with the models that hospitals train alone, on the test patients of every hospital."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfl.messages.records import EVAL_PATIENTS, Metrics
from medfl.metrics import headline, merge, score_errors
from medfl.study import Study

SiteMetrics = dict[str, Metrics]
ModelScores = dict[str, tuple[float, float]]  # score and largest error by site


@dataclass(frozen=True)
class Lowest:
    """Lowest score of an arm at a hospital.

    Parameters
    ----------
    score : float
        The lowest that was measured.
    sites : tuple of str
        The hospital where it was; several where histograms do not tell which of them has it.
    """

    score: float
    sites: tuple[str, ...]


@dataclass(frozen=True)
class ArmComparison:
    """Test scores of both arms; every score is the `medfl.metrics.headline` of the study, nan where it is not defined.

    The averages of both arms are taken over the same pairs of a hospital and a test set: those where both models have a score.

    Parameters
    ----------
    sites : tuple of str
        Names of the hospitals with test patients or a model of their own.
    patients : mapping of str to int
        Test patients of each, 0 where the policy hides their number.
    federated : float
        Score over the test patients of all hospitals together.
    federated_by_site : mapping of str to float
        Score of the federated model on the test patients of each hospital.
    local : mapping of str to mapping of str to float
        ``local[i][j]``: score of the model of hospital i on the test patients of hospital j.
    local_on_own, federated_on_own : float
        Mean over hospitals of the score on their own test patients.
    local_on_others, federated_on_others : float
        Mean over hospitals i of the patient-weighted mean score on the test patients of the other hospitals, of the model of
        hospital i and of the federated one.
    error_on_own, error_on_others : float
        How far the difference of these means may be from that of the single scores, which histograms do not tell.
    max_error : float
        Largest error of a single score of both arms; 0 for Dice.
    owners_on_own, owners_on_others : int
        Hospitals over which these means are.
    federated_lowest, local_lowest : Lowest, or None
        Lowest score of the arm at a hospital, on that hospital's own test patients.
    """

    sites: tuple[str, ...]
    patients: Mapping[str, int]
    federated: float
    federated_by_site: Mapping[str, float]
    local: Mapping[str, Mapping[str, float]]
    local_on_own: float
    federated_on_own: float
    local_on_others: float
    federated_on_others: float
    error_on_own: float
    error_on_others: float
    max_error: float
    owners_on_own: int
    owners_on_others: int
    federated_lowest: Lowest | None
    local_lowest: Lowest | None

    @property
    def gain_on_own(self) -> float:
        """Federated minus local score on the hospitals' own patients."""
        return self.federated_on_own - self.local_on_own

    @property
    def gain_on_others(self) -> float:
        """Federated minus local score on the patients of the other hospitals."""
        return self.federated_on_others - self.local_on_others


def compare_arms(events: Sequence[Mapping[str, Any]], study: Study) -> ArmComparison:
    """Compare the arms of a run by the ``test`` events of its history.

    Parameters
    ----------
    events : sequence of mapping
        Events of ``history.jsonl``; those other than ``test`` are ignored. The last test of a model counts.
    study : Study
        Study whose score is compared.

    Returns
    -------
    ArmComparison
        Comparison with nan and empty mappings for an arm that was not tested.
    """
    federated, local = _read_tests(events)
    sites = tuple(sorted({*federated, *local, *(name for tested in local.values() for name in tested)}))
    patients = {site: max((_count_patients(t, site) for t in (federated, *local.values())), default=0) for site in sites}
    by_site = _score(study, federated, sites)
    matrix = {owner: _score(study, local[owner], sites) for owner in sorted(local)}
    on_own, on_others = _own_pairs(matrix, by_site), _other_pairs(matrix, by_site, patients)
    return ArmComparison(
        sites=sites,
        patients=patients,
        federated=headline(study, merge(study, list(federated.values()))),
        federated_by_site={site: score for site, (score, _) in by_site.items()},
        local={owner: {site: score for site, (score, _) in row.items()} for owner, row in matrix.items()},
        local_on_own=_mean([pair.alone for pair in on_own]),
        federated_on_own=_mean([pair.together for pair in on_own]),
        local_on_others=_mean([pair.alone for pair in on_others]),
        federated_on_others=_mean([pair.together for pair in on_others]),
        error_on_own=_mean([pair.error for pair in on_own]),
        error_on_others=_mean([pair.error for pair in on_others]),
        max_error=max(
            (e for row in (by_site, *matrix.values()) for score, e in row.values() if not math.isnan(score)), default=0.0
        ),
        owners_on_own=len(on_own),
        owners_on_others=len(on_others),
        federated_lowest=_lowest(by_site),
        local_lowest=_lowest({owner: row[owner] for owner, row in matrix.items()}),
    )


@dataclass(frozen=True)
class _Pair:
    """Scores of a hospital's own model and of the federated one on the same patients, and the error of their difference."""

    alone: float
    together: float
    error: float


def _read_tests(events: Sequence[Mapping[str, Any]]) -> tuple[SiteMetrics, dict[str, SiteMetrics]]:
    """Return the metrics of the federated model by site, and of every local model by owner and site."""
    federated: SiteMetrics = {}
    local: dict[str, SiteMetrics] = {}
    for event in events:
        if event.get("event") != "test":
            continue
        answers = event.get("sites", {})
        metrics: SiteMetrics = {site: dict(a["metrics"]) for site, a in answers.items() if a.get("metrics")}
        if event["arm"] == "local":
            local[str(event["model"]["site"])] = metrics
        elif event["arm"] == "federated":
            federated = metrics
    return federated, local


def _count_patients(tested: SiteMetrics, site: str) -> int:
    value = tested.get(site, {}).get(EVAL_PATIENTS, 0)
    return value if isinstance(value, int) else 0


def _score(study: Study, tested: SiteMetrics, sites: Sequence[str]) -> ModelScores:
    """Return the score of a model at each site, nan where there is none, and its largest error."""
    scores: ModelScores = {}
    for site in sites:
        parts = [tested[site]] if site in tested else []
        score = headline(study, merge(study, parts)) if parts else math.nan
        scores[site] = (score, score_errors(study, parts).get("auroc", 0.0))
    return scores


def _own_pairs(matrix: Mapping[str, ModelScores], by_site: ModelScores) -> list[_Pair]:
    pairs = [(row[owner], by_site[owner]) for owner, row in matrix.items()]
    return [_Pair(alone, together, a + t) for (alone, a), (together, t) in pairs if not math.isnan(alone + together)]


def _other_pairs(matrix: Mapping[str, ModelScores], by_site: ModelScores, patients: Mapping[str, int]) -> list[_Pair]:
    """Return, for each owner of a local model, the weighted mean score of both models on the other hospitals."""
    pairs = []
    for owner, row in matrix.items():
        others = [site for site in row if site != owner and not math.isnan(row[site][0] + by_site[site][0])]
        weights = [patients[site] for site in others]
        if total := sum(weights):
            scores = [(row[site][0], by_site[site][0], row[site][1] + by_site[site][1]) for site in others]
            pairs.append(
                _Pair(*(math.fsum(w * x for w, x in zip(weights, c, strict=True)) / total for c in zip(*scores, strict=True)))
            )
    return pairs


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _lowest(scores: ModelScores) -> Lowest | None:
    """Return the lowest score, and all sites that may have it."""
    defined = {site: pair for site, pair in scores.items() if not math.isnan(pair[0])}
    if not defined:
        return None
    limit = min(score + error for score, error in defined.values())
    return Lowest(
        min(score for score, _ in defined.values()),
        tuple(site for site, (score, error) in defined.items() if score - error <= limit),
    )
