"""Data of a report, read from the folder of a run into frozen objects. Nothing here draws or words anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfl.errors import MedflError
from medfl.evaluation.arm_comparison import ArmComparison, compare_arms
from medfl.messages.records import EVAL_PATIENTS, TRAIN_LOSS, TRAIN_SAMPLES, Metrics
from medfl.metrics import headline, merge
from medfl.metrics.keys import hides_score
from medfl.report.external_tests import ExternalTest, read_external_tests
from medfl.report.rejected_replies import RejectedReply, read_rejected
from medfl.report.round_contributions import RoundContribution, read_round_contributions, to_float
from medfl.report.site_tests import ALL_SITES, SiteTest, personal_test_event, read_overall_test, read_site_tests
from medfl.runs.history import Event, sum_start_bytes
from medfl.runs.run_folder import Run, read_metadata, run_status
from medfl.study import Simulation, Study

Curve = tuple[tuple[int, float], ...]  # (round, value)

_FEW_SITES = 3  # from so many on, one with more than half of the weight is named


@dataclass(frozen=True)
class JoinedSite:
    """A site when it joined: patients and cases by split, cases left out by code, as `medfl.messages.counts` has them.

    `annotated` names the structures that somebody looked for in its images; it is empty where the site does not say. An
    external hospital of a simulation joins for the test alone.
    """

    name: str
    patients: Mapping[str, int]
    cases: Mapping[str, int]
    excluded: Mapping[str, int]
    warnings: Mapping[str, int]
    patient_ids: bool
    annotated: tuple[str, ...] = ()
    is_external: bool = False


@dataclass(frozen=True)
class RoundSummary:
    """One round of one arm; nan where nothing is known. Cases used and left out, and shares of the weight, are by site, of the
    replies that counted.

    `hidden` names the numbers, "score" or "loss", that are not known because policies of hospitals hide them.
    """

    arm: str
    number: int
    score: float
    loss: float
    seconds: float
    bytes_up: float
    bytes_down: float
    answered: int
    asked: int
    used: Mapping[str, int]
    excluded: Mapping[str, Mapping[str, int]]
    shares: Mapping[str, float] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ArmHistory:
    """One arm: its rounds, and by site (`ALL_SITES`: together) the score after each round and the training loss."""

    name: str
    rounds: tuple[RoundSummary, ...]
    scores: Mapping[str, Curve]
    losses: Mapping[str, Curve]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows; `joined` are the hospitals that took part, `external` those that were only tested on."""

    path: Path
    study: Study
    simulation: Simulation
    about: Mapping[str, Any]
    status: str
    reason: str
    ended: str
    seconds: float
    best_round: int | None
    machine: Mapping[str, Any]
    sites: tuple[str, ...]
    joined: Mapping[str, JoinedSite]
    external: Mapping[str, JoinedSite]
    external_tests: tuple[ExternalTest, ...]
    start_bytes: int  # of a first model that was sent whole, as hospitals joined
    arms: Mapping[str, ArmHistory]
    site_tests: tuple[SiteTest, ...]
    overall_test: SiteTest | None
    personal_tests: tuple[SiteTest, ...]
    overall_personal_test: SiteTest | None
    comparison: ArmComparison
    contributions: tuple[RoundContribution, ...]
    rejected: tuple[RejectedReply, ...]
    previews: Mapping[str, tuple[Path, ...]]


def read_report_data(path: Path) -> ReportData:
    """Read the folder of a run.

    Parameters
    ----------
    path : Path
        The folder; the run may have failed, or still be going on.

    Raises
    ------
    RunError
        When the folder, its study.json or its history cannot be read.
    """
    run = Run.open(path)
    events, study = run.history.read(), run.study
    end = next((e for e in reversed(events) if e["event"] == "end"), {}) if run_status(events) != "unfinished" else {}
    start = next((e for e in reversed(events) if e["event"] == "start"), {})
    joined = {str(e["site"]): _read_joined(e) for e in events if e["event"] == "joined"}
    test = next((e for e in reversed(events) if e["event"] == "test" and e.get("arm", "federated") == "federated"), {})
    external = {name: site for name, site in joined.items() if site.is_external}
    personal_test = personal_test_event(test)
    tested, personal = read_site_tests(study, test), read_site_tests(study, personal_test)
    return ReportData(
        path=path,
        study=study,
        simulation=run.app.simulation,
        about=read_metadata(path),
        status=run_status(events),
        reason=str(end.get("reason") or ""),
        ended=str(end.get("time", "")) or (str(events[-1].get("time", "")) if events else ""),
        seconds=to_float(end.get("seconds")),
        best_round=_best_round(end, test),
        machine=start.get("machine") or {},
        sites=tuple(sorted({*joined, *_site_names(events)} - external.keys())),
        joined={name: site for name, site in joined.items() if name not in external},
        external=external,
        external_tests=read_external_tests(path, study),
        start_bytes=sum_start_bytes(events),
        arms={name: _read_arm(study, name, events) for name in _arm_names(events)},
        site_tests=tested,
        overall_test=read_overall_test(study, test, tested),
        personal_tests=personal,
        overall_personal_test=read_overall_test(study, personal_test, personal),
        comparison=_compare(events, study),
        contributions=read_round_contributions(events),
        rejected=tuple(read_rejected(events)),
        previews=_find_previews(path),
    )


def _read_joined(event: Event) -> JoinedSite:
    cases = event.get("cases") or {}
    splits = ("train", "validation", "test")
    return JoinedSite(
        name=str(event["site"]),
        patients={split: int(event.get(split) or 0) for split in splits},
        cases={split: int(cases.get(split) or 0) for split in splits},
        excluded=dict(event.get("excluded") or {}),
        warnings=dict(event.get("warnings") or {}),
        patient_ids=bool(event.get("patient-ids", True)),
        annotated=tuple(map(str, event.get("annotated") or ())),
        is_external=bool(event.get("external")),
    )


def _site_names(events: Iterable[Event]) -> set[str]:
    return {str(site) for e in events if e["event"] in ("round", "scored", "test") for site in e.get("sites") or {}}


def _arm_names(events: Iterable[Event]) -> list[str]:
    return list(dict.fromkeys(str(e.get("arm", "federated")) for e in events if e["event"] == "round"))


def _read_arm(study: Study, name: str, events: Sequence[Event]) -> ArmHistory:
    """Fold the events of one arm. The evaluation reported in round r is of the model of round r - 1."""
    # After a resume a round may be there twice: the last one counts.
    rounds = {int(e["round"]): e for e in events if e["event"] == "round" and e.get("arm", "federated") == name}
    closing = {int(e["round"]): e for e in events if e["event"] == "scored" and e.get("arm", "federated") == name}
    scores: dict[str, dict[int, float]] = {}
    losses: dict[str, dict[int, float]] = {}
    models = [(r - 1, rounds[r]) for r in sorted(rounds)] + [(r, closing[r]) for r in sorted(closing)]
    for model, event in models:
        for site, score in _site_scores(study, event).items():
            scores.setdefault(site, {})[model] = score
    for r, event in sorted(rounds.items()):
        for site, loss in _site_losses(event).items():
            losses.setdefault(site, {})[r] = loss
    hiding = {model for model, event in models if any(map(hides_score, _counted_metrics(event)))}
    summaries = tuple(
        _summarize_round(name, rounds[r], scores.get(ALL_SITES, {}).get(r, math.nan), hides=r in hiding) for r in sorted(rounds)
    )
    return ArmHistory(name, summaries, _to_curves(scores), _to_curves(losses))


def _site_scores(study: Study, event: Event) -> dict[str, float]:
    values = {str(site): to_float(score) for site, score in (event.get("scores") or {}).items()}
    for site, reply in (event.get("sites") or {}).items():
        values.setdefault(str(site), _headline_score(study, reply.get("metrics") or {}))
    if event.get("score") is not None:
        values[ALL_SITES] = to_float(event["score"])
    elif defined := [score for site, score in values.items() if not math.isnan(score) and event.get("scores")]:
        values[ALL_SITES] = math.fsum(defined) / len(defined)  # local arm: there is no shared model, so the mean over the sites
    return {site: score for site, score in values.items() if not math.isnan(score)}


def _headline_score(study: Study, metrics: Metrics) -> float:
    try:
        return headline(study, merge(study, [metrics])) if metrics.get(EVAL_PATIENTS) else math.nan
    except (MedflError, KeyError, TypeError):
        return math.nan


def _site_losses(event: Event) -> dict[str, float]:
    train = event.get("train") or {}
    losses = {str(site): to_float((a.get("metrics") or {}).get(TRAIN_LOSS)) for site, a in (event.get("sites") or {}).items()}
    losses[ALL_SITES] = to_float(train.get(TRAIN_LOSS, train.get("loss")))
    return {site: loss for site, loss in losses.items() if not math.isnan(loss)}


def _to_curves(values: Mapping[str, Mapping[int, float]]) -> dict[str, Curve]:
    return {site: tuple(sorted(points.items())) for site, points in sorted(values.items())}


def _counted_metrics(event: Event) -> list[Metrics]:
    """Return the metrics of the replies of an event that counted."""
    replies = (event.get("sites") or {}).values()
    return [reply.get("metrics") or {} for reply in replies if reply.get("status", "ok") == "ok"]


def _summarize_round(arm: str, event: Event, score: float, *, hides: bool) -> RoundSummary:
    replies = {str(site): reply for site, reply in (event.get("sites") or {}).items()}
    statuses = [str(a.get("status", "ok")) for a in replies.values()]
    counted = {site: a for site, a in replies.items() if a.get("status", "ok") == "ok"}
    loss = _site_losses(event).get(ALL_SITES, math.nan)
    withheld = any(numbers.get(TRAIN_LOSS, 0.0) is None for numbers in _counted_metrics(event))  # JSON has no nan
    unknown = (("score", hides and math.isnan(score)), ("loss", withheld and math.isnan(loss)))
    used = {site: a.get("used", (a.get("metrics") or {}).get(TRAIN_SAMPLES)) for site, a in counted.items()}
    return RoundSummary(
        arm=arm,
        number=int(event["round"]),
        score=score,
        loss=loss,
        seconds=to_float(event.get("seconds")),
        bytes_up=to_float(event.get("bytes-up")),
        bytes_down=to_float(event.get("bytes-down")),
        answered=statuses.count("ok"),
        asked=len(statuses),
        used={site: count for site, count in used.items() if isinstance(count, int)},
        excluded={site: dict(a.get("excluded") or {}) for site, a in counted.items()},
        shares=_shares(counted),
        hidden=frozenset(name for name, is_hidden in unknown if is_hidden),
    )


def is_mostly_one(shares: Mapping[str, float]) -> bool:
    """Say whether one of three or more sites holds more than half of the weight."""
    return len(shares) >= _FEW_SITES and max(shares.values()) > 0.5


def _shares(counted: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of the weight that each site holds whose reply counted; none where weights are not on record."""
    weights = {site: to_float(reply.get("weight")) for site, reply in counted.items()}
    total = math.fsum(weight for weight in weights.values() if not math.isnan(weight))
    return {site: weight / total for site, weight in weights.items() if not math.isnan(weight)} if total > 0 else {}


def _compare(events: Sequence[Event], study: Study) -> ArmComparison:
    try:
        return compare_arms(events, study)
    except (MedflError, KeyError, TypeError):
        return compare_arms([], study)


def _best_round(end: Event, test: Event) -> int | None:
    best = end.get("best-round") or (test.get("model") or {}).get("round")
    return int(best) if best else None


def _find_previews(path: Path) -> dict[str, tuple[Path, ...]]:
    folders = sorted(path.glob("sites/*/previews"))
    return {folder.parent.name: tuple(sorted(folder.glob("*.npz"))) for folder in folders}
