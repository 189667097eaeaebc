"""What a report tells, read from the folder of a run into frozen objects. Nothing here draws or words anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfl.errors import MedflError
from medfl.evaluation.arms import ArmComparison, compare_arms
from medfl.messages.records import EVAL_PATIENTS, TRAIN_LOSS, TRAIN_SAMPLES, Metrics
from medfl.metrics import headline, merge
from medfl.report.measured import Measured, measured_in, number
from medfl.report.tested import ALL, Tested, of_personal_models, read_tested, read_together
from medfl.runs.folder import Run, read_about, status_of
from medfl.runs.history import Event
from medfl.study import Study

Curve = tuple[tuple[int, float], ...]  # (round, value)


@dataclass(frozen=True)
class SiteJoined:
    """What a site brought: patients and cases by split, and cases left out by code, as `medfl.messages.counts` tells counts.

    And the structures that somebody looked for in its images; empty where that is not told.
    """

    name: str
    patients: Mapping[str, int]
    cases: Mapping[str, int]
    excluded: Mapping[str, int]
    warnings: Mapping[str, int]
    patient_ids: bool
    annotated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trouble:
    """One answer that did not count: when, whose, what became of it ("refused", "failed", "late", "absent"), and the reason."""

    arm: str
    when: str
    site: str
    status: str
    reason: str


@dataclass(frozen=True)
class RoundDone:
    """One round of one arm; nan where nothing was told. Cases used and left out are by site, of the replies that counted."""

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


@dataclass(frozen=True)
class ArmTold:
    """One arm: its rounds, and by site (`ALL`: together) the score of the model after each round and the training loss."""

    name: str
    rounds: tuple[RoundDone, ...]
    scores: Mapping[str, Curve]
    losses: Mapping[str, Curve]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report is drawn from."""

    path: Path
    study: Study
    about: Mapping[str, Any]
    status: str
    reason: str
    ended: str
    seconds: float
    best_round: int | None
    machine: Mapping[str, Any]
    sites: tuple[str, ...]
    joined: Mapping[str, SiteJoined]
    arms: Mapping[str, ArmTold]
    tested: tuple[Tested, ...]
    together: Tested | None
    personal: tuple[Tested, ...]
    personal_together: Tested | None
    comparison: ArmComparison
    measured: tuple[Measured, ...]
    troubles: tuple[Trouble, ...]
    previews: Mapping[str, tuple[Path, ...]]


def read_run(path: Path) -> ReportData:
    """Read the folder of a run.

    Parameters
    ----------
    path : Path
        The folder; the run may have failed, or still be going on.

    Raises
    ------
    RunError
        When the folder, its study.json or its history can not be read.
    """
    run = Run.open(path)
    events, study = run.history.read(), run.study
    end = next((e for e in reversed(events) if e["event"] == "end"), {}) if status_of(events) != "unfinished" else {}
    start = next((e for e in reversed(events) if e["event"] == "start"), {})
    joined = {str(e["site"]): _joined(e) for e in events if e["event"] == "joined"}
    test = next((e for e in reversed(events) if e["event"] == "test" and e.get("arm") != "local"), {})
    own = of_personal_models(test)
    tested, personal = read_tested(study, test), read_tested(study, own)
    return ReportData(
        path=path,
        study=study,
        about=read_about(path),
        status=status_of(events),
        reason=str(end.get("reason") or ""),
        ended=str(end.get("time", "")) or (str(events[-1].get("time", "")) if events else ""),
        seconds=number(end.get("seconds")),
        best_round=_best_round(end, test),
        machine=start.get("machine") or {},
        sites=tuple(sorted({*joined, *_named(events)})),
        joined=joined,
        arms={name: _arm(study, name, events) for name in _arm_names(events)},
        tested=tested,
        together=read_together(study, test, tested),
        personal=personal,
        personal_together=read_together(study, own, personal),
        comparison=_compare(events, study),
        measured=measured_in(events),
        troubles=tuple(_troubles(events)),
        previews=_previews(path),
    )


def _joined(event: Event) -> SiteJoined:
    cases = event.get("cases") or {}
    splits = ("train", "validation", "test")
    return SiteJoined(
        name=str(event["site"]),
        patients={split: int(event.get(split) or 0) for split in splits},
        cases={split: int(cases.get(split) or 0) for split in splits},
        excluded=dict(event.get("excluded") or {}),
        warnings=dict(event.get("warnings") or {}),
        patient_ids=bool(event.get("patient-ids", True)),
        annotated=tuple(map(str, event.get("annotated") or ())),
    )


def _named(events: Iterable[Event]) -> set[str]:
    return {str(site) for e in events if e["event"] in ("round", "scored", "test") for site in e.get("sites") or {}}


def _arm_names(events: Iterable[Event]) -> list[str]:
    return list(dict.fromkeys(str(e.get("arm", "federated")) for e in events if e["event"] == "round"))


def _arm(study: Study, name: str, events: Sequence[Event]) -> ArmTold:
    """Fold the events of one arm. The evaluation told in round r is of the model of round r - 1."""
    # After a resume a round may be told twice: the last word counts.
    rounds = {int(e["round"]): e for e in events if e["event"] == "round" and e.get("arm", "federated") == name}
    closing = {int(e["round"]): e for e in events if e["event"] == "scored" and e.get("arm", "federated") == name}
    scores: dict[str, dict[int, float]] = {}
    losses: dict[str, dict[int, float]] = {}
    models = [(r - 1, rounds[r]) for r in sorted(rounds)] + [(r, closing[r]) for r in sorted(closing)]
    for model, event in models:
        for site, score in _scores(study, event).items():
            scores.setdefault(site, {})[model] = score
    for r, event in sorted(rounds.items()):
        for site, loss in _losses(event).items():
            losses.setdefault(site, {})[r] = loss
    done = tuple(_round_done(name, rounds[r], scores.get(ALL, {}).get(r, math.nan)) for r in sorted(rounds))
    return ArmTold(name, done, _curves(scores), _curves(losses))


def _scores(study: Study, event: Event) -> dict[str, float]:
    told = {str(site): number(score) for site, score in (event.get("scores") or {}).items()}
    for site, answer in (event.get("sites") or {}).items():
        told.setdefault(str(site), _headline(study, answer.get("metrics") or {}))
    if event.get("score") is not None:
        told[ALL] = number(event["score"])
    elif defined := [score for site, score in told.items() if not math.isnan(score) and event.get("scores")]:
        told[ALL] = math.fsum(defined) / len(defined)  # local arm: there is no shared model, so the mean over the sites
    return {site: score for site, score in told.items() if not math.isnan(score)}


def _headline(study: Study, metrics: Metrics) -> float:
    try:
        return headline(study, merge(study, [metrics])) if metrics.get(EVAL_PATIENTS) else math.nan
    except (MedflError, KeyError, TypeError):
        return math.nan


def _losses(event: Event) -> dict[str, float]:
    train = event.get("train") or {}
    told = {str(site): number((a.get("metrics") or {}).get(TRAIN_LOSS)) for site, a in (event.get("sites") or {}).items()}
    told[ALL] = number(train.get(TRAIN_LOSS, train.get("loss")))
    return {site: loss for site, loss in told.items() if not math.isnan(loss)}


def _curves(values: Mapping[str, Mapping[int, float]]) -> dict[str, Curve]:
    return {site: tuple(sorted(points.items())) for site, points in sorted(values.items())}


def _round_done(arm: str, event: Event, score: float) -> RoundDone:
    answers = {str(site): answer for site, answer in (event.get("sites") or {}).items()}
    statuses = [str(a.get("status", "ok")) for a in answers.values()]
    counted = {site: a for site, a in answers.items() if a.get("status", "ok") == "ok"}
    used = {site: a.get("used", (a.get("metrics") or {}).get(TRAIN_SAMPLES)) for site, a in counted.items()}
    return RoundDone(
        arm=arm,
        number=int(event["round"]),
        score=score,
        loss=_losses(event).get(ALL, math.nan),
        seconds=number(event.get("seconds")),
        bytes_up=number(event.get("bytes-up")),
        bytes_down=number(event.get("bytes-down")),
        answered=statuses.count("ok"),
        asked=len(statuses),
        used={site: count for site, count in used.items() if isinstance(count, int)},
        excluded={site: dict(a.get("excluded") or {}) for site, a in counted.items()},
    )


def _troubles(events: Iterable[Event]) -> Iterable[Trouble]:
    for event in events:
        if event["event"] == "round":
            for site, answer in (event.get("sites") or {}).items():
                status = str(answer.get("status", "ok"))
                if status != "ok":
                    arm, when = str(event.get("arm", "")), f"round {event['round']}"
                    yield Trouble(arm, when, str(site), status, str(answer.get("reason") or ""))
        elif event["event"] in ("failed", "absent"):
            yield Trouble(
                str(event.get("arm", "")),
                str(event.get("during", "")),
                str(event.get("site", "")),
                str(event["event"]),
                str(event.get("reason", "")),
            )


def _compare(events: Sequence[Event], study: Study) -> ArmComparison:
    try:
        return compare_arms(events, study)
    except (MedflError, KeyError, TypeError):
        return compare_arms([], study)


def _best_round(end: Event, test: Event) -> int | None:
    best = end.get("best-round") or (test.get("model") or {}).get("round")
    return int(best) if best else None


def _previews(path: Path) -> dict[str, tuple[Path, ...]]:
    folders = sorted(path.glob("sites/*/previews"))
    return {folder.parent.name: tuple(sorted(folder.glob("*.npz"))) for folder in folders}
