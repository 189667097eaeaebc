"""Results of a test: metrics of a model on the patients of each site, and of all sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medfl.errors import MedflError
from medfl.messages.records import EVAL_PATIENTS, Metrics
from medfl.metrics import derive, merge, personal_part, score_errors
from medfl.metrics.keys import HIDDEN
from medfl.report.round_contributions import to_float
from medfl.runs.history import Event
from medfl.study import Study

ALL_SITES = ""  # instead of the name of a site: the patients of all sites together


@dataclass(frozen=True)
class SiteTest:
    """Metrics of one model on the test patients of one site, or of all (`ALL_SITES`).

    `ReportData.personal_tests` holds those of each site's personal model on the patients of that site. `errors` says how far
    some of the derived scores may be from those of the single scores, as `medfl.metrics.score_errors` has it.
    """

    site: str
    patients: int
    metrics: Metrics
    derived: Mapping[str, float]
    errors: Mapping[str, float] = field(default_factory=dict)

    def is_hidden(self, what: str) -> bool:
        """Return whether a policy hides something: ``"scores-hidden.liver"``, or everything (``""``)."""
        return bool(self.metrics.get(f"eval.{what}" if what else HIDDEN, 0))

    def hides_scores(self) -> bool:
        """Return whether a policy hides the scores of all classes."""
        classes = [value for key, value in self.metrics.items() if key.startswith("eval.scores-hidden.")]
        return self.is_hidden("") or (bool(classes) and all(classes))


def read_site_tests(study: Study, event: Event) -> tuple[SiteTest, ...]:
    """Return the results of a ``test`` event by site, in the order of their names."""
    answers = sorted((event.get("sites") or {}).items())
    return tuple(_make_site_test(study, str(site), a.get("metrics") or {}, a.get("derived") or {}) for site, a in answers)


def read_overall_test(study: Study, event: Event, tested: Sequence[SiteTest]) -> SiteTest | None:
    """Return the results of a ``test`` event for all patients together; None where no site was tested."""
    if not tested:
        return None
    together = _make_site_test(study, ALL_SITES, event.get("eval") or {}, event.get("derived") or {})
    return replace(together, errors=_read_errors(study, [t.metrics for t in tested if t.patients]))


def personal_test_event(test: Event) -> Event:
    """Return the test of the sites' personal models in the form of a ``test`` event of the shared one."""
    answers = (test.get("sites") or {}).items()
    personal = {s: {"metrics": personal_part(a.get("metrics") or {}), "derived": a.get("personal-derived")} for s, a in answers}
    sites = {site: answer for site, answer in personal.items() if answer["metrics"]}
    return {"sites": sites, "eval": personal_part(test.get("personal") or {}), "derived": test.get("personal-derived")}


def _make_site_test(study: Study, site: str, metrics: Metrics, recorded: Mapping[str, Any]) -> SiteTest:
    patients = metrics.get(EVAL_PATIENTS) or 0
    count = patients if isinstance(patients, int) else 0
    try:
        derived = derive(study, merge(study, [metrics])) if count else {}
    except (MedflError, KeyError, TypeError):  # written by another version: what it derived itself is still good
        derived = {key: to_float(value) for key, value in recorded.items()}
    return SiteTest(site, count, metrics, derived, _read_errors(study, [metrics] if count else []))


def _read_errors(study: Study, parts: Sequence[Metrics]) -> dict[str, float]:
    try:
        return score_errors(study, parts)
    except (MedflError, KeyError, TypeError):  # written by another version
        return {}
