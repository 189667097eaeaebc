"""Comparison of the federated model with the models that hospitals train alone, on the test patients of every hospital."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medfl.messages.records import EVAL_PATIENTS, Metrics
from medfl.metrics import headline, merge
from medfl.study import Study

SiteMetrics = dict[str, Metrics]

_MIN_PATIENTS_FOR_AUROC = 5  # test patients


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
    federated_worst, local_worst : tuple of (str, float), or None
        Hospital that the arm serves worst on its own test patients, and the score there.
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
    federated_worst: tuple[str, float] | None
    local_worst: tuple[str, float] | None

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
    by_site = {site: _score(study, federated, site) for site in sites}
    matrix = {owner: {site: _score(study, local[owner], site) for site in sites} for owner in sorted(local)}
    on_own, on_others = _own_pairs(matrix, by_site), _other_pairs(matrix, by_site, patients)
    return ArmComparison(
        sites=sites,
        patients=patients,
        federated=headline(study, merge(study, list(federated.values()))),
        federated_by_site=by_site,
        local=matrix,
        local_on_own=_mean([alone for alone, _ in on_own]),
        federated_on_own=_mean([together for _, together in on_own]),
        local_on_others=_mean([alone for alone, _ in on_others]),
        federated_on_others=_mean([together for _, together in on_others]),
        federated_worst=_worst(by_site, patients, study),
        local_worst=_worst({owner: row[owner] for owner, row in matrix.items()}, patients, study),
    )


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
        else:
            federated = metrics
    return federated, local


def _count_patients(tested: SiteMetrics, site: str) -> int:
    value = tested.get(site, {}).get(EVAL_PATIENTS, 0)
    return value if isinstance(value, int) else 0


def _score(study: Study, tested: SiteMetrics, site: str) -> float:
    return headline(study, merge(study, [tested[site]])) if site in tested else math.nan


def _own_pairs(matrix: Mapping[str, Mapping[str, float]], by_site: Mapping[str, float]) -> list[tuple[float, float]]:
    pairs = [(row[owner], by_site[owner]) for owner, row in matrix.items()]
    return [pair for pair in pairs if not any(map(math.isnan, pair))]


def _other_pairs(
    matrix: Mapping[str, Mapping[str, float]], by_site: Mapping[str, float], patients: Mapping[str, int]
) -> list[tuple[float, float]]:
    """Return, for each owner of a local model, the weighted mean score of both models on the other hospitals."""
    pairs = []
    for owner, row in matrix.items():
        others = [site for site in row if site != owner and not math.isnan(row[site]) and not math.isnan(by_site[site])]
        total = sum(patients[site] for site in others)
        if total:
            alone = math.fsum(patients[site] * row[site] for site in others) / total
            pairs.append((alone, math.fsum(patients[site] * by_site[site] for site in others) / total))
    return pairs


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _worst(scores: Mapping[str, float], patients: Mapping[str, int], study: Study) -> tuple[str, float] | None:
    """Return the lowest score; an AUROC over too few patients counts only if no hospital has more."""
    min_patients = _MIN_PATIENTS_FOR_AUROC if study.task.kind == "classification" else 1
    defined = [(score, site) for site, score in scores.items() if not math.isnan(score)]
    if not defined:
        return None
    score, site = min([pair for pair in defined if patients.get(pair[1], 0) >= min_patients] or defined)
    return site, score
