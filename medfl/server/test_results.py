"""Results of a test for the history of a run: of the hospitals that took part, and apart from them of external ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfl import metrics
from medfl.messages.records import Metrics
from medfl.study import Study


def test_results(study: Study, answers: Mapping[str, Metrics]) -> dict[str, Any]:
    """Return for the history what a test came to, by site and merged."""
    sites = {site: {"metrics": values, "derived": metrics.derive(study, values)} for site, values in answers.items()}
    merged = metrics.merge(study, list(answers.values()))
    errors = metrics.score_errors(study, list(answers.values()))
    return {"sites": sites, "eval": merged, "derived": metrics.derive(study, merged), "errors": errors}


def part_external(study: Study, answers: Mapping[str, Metrics]) -> tuple[dict[str, Metrics], dict[str, Any]]:
    """Return the answers of the hospitals that took part, and for the history the results of the external ones.

    The results are under ``external``, in the form of `test_results`, and empty where no external hospital answered. They count
    in no other number.
    """
    external = {site: answers[site] for site in study.evaluation.external if site in answers}
    own = {site: values for site, values in answers.items() if site not in external}
    return own, {"external": test_results(study, external)} if external else {}
