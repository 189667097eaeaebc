"""The first things a reader wants: three numbers, and what became of the study in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medfl.messages.counts import at_least
from medfl.report.model import ReportData
from medfl.report.tested import ALL, Tested
from medfl.report.words import duration, listing, plural, reason_in_words, score, signed

CLEAR = 0.01  # smaller differences of Dice or AUROC are told as none
_NAMED = 3  # hospitals that a sentence lists by name
_FEW = 30  # test patients below which chance gets a word


@dataclass(frozen=True)
class Headline:
    """One of the three numbers: what it is, the number, and what stands behind it."""

    label: str
    value: str
    note: str


def score_name(data: ReportData) -> str:
    """Return what the score of the study is called."""
    return "Dice" if data.study.task.kind == "segmentation" else "AUROC"


def headlines(data: ReportData) -> tuple[Headline, Headline, Headline]:
    """Return the three numbers at the top of the report."""
    return _first(data), _second(data), _third(data)


def verdict(data: ReportData) -> list[str]:
    """Return what became of the study: one sentence an idea, the most important first."""
    return [*_ending(data), *_arms(data), *_personal(data), *_worse_off(data), *_chance(data)]


def headline_of(data: ReportData, tested: Tested | None) -> float:
    """Return the score of one test, nan where it is not defined or not told."""
    derived = tested.derived if tested else {}
    return derived.get("dice" if data.study.task.kind == "segmentation" else "auroc", math.nan)


def _first(data: ReportData) -> Headline:
    name = score_name(data)
    if data.together is not None and data.together.patients:
        sites = sum(t.patients > 0 for t in data.tested)
        note = f"{plural(data.together.patients, 'test patient')} of {plural(sites, 'hospital')}"
        return Headline(f"{name} of the shared model", score(headline_of(data, data.together)), note)
    arm = data.arms.get("federated")
    points = arm.scores.get(ALL, ()) if arm else ()
    if points:
        at, best = max(points, key=lambda p: p[1])
        return Headline(f"Best {name} on validation patients", score(best), f"after round {at}; no model was tested")
    if any(tested.hides("") for tested in data.tested):
        return Headline(f"{name} of the shared model", "hidden", "over fewer patients than the hospitals' policies tell")
    return Headline(f"{name} of the shared model", "none", "no model was scored")


def _second(data: ReportData) -> Headline:
    worst = data.comparison.federated_worst
    if worst is not None and len(data.sites) > 1:
        site, value = worst
        patients = data.comparison.patients.get(site, 0)
        return Headline("Hospital it serves worst", score(value), f"{site}, {plural(patients, 'test patient')}")
    done = max((len(arm.rounds) for arm in data.arms.values()), default=0)
    return Headline(
        "Rounds done", f"{done} of {data.study.rounds}", duration(data.seconds) if not math.isnan(data.seconds) else ""
    )


def _third(data: ReportData) -> Headline:
    found = data.comparison
    if not math.isnan(found.local_on_others):
        note = f"{score_name(data)} on other hospitals’ patients; the shared model there: {score(found.federated_on_others)}"
        return Headline("Models trained alone", score(found.local_on_others), note)
    taught = at_least(site.patients.get("train", 0) for site in data.joined.values())
    return Headline("Patients it learnt from", f"{taught:,}".replace(",", " "), f"at {plural(len(data.joined), 'hospital')}")


def _ending(data: ReportData) -> Iterator[str]:
    done = max((len(arm.rounds) for arm in data.arms.values()), default=0)
    after = f"after {plural(done, 'round')} of {data.study.rounds}" if done else "before the first round was done"
    tested = "" if data.tested else " No model was tested: there is no result to rely on."
    why = f": {reason_in_words(data.reason)[1].rstrip('.')}" if data.reason else ""
    if data.status == "failed":
        yield f"This run failed {after}{why}.{tested}"
    elif data.status == "stopped":
        yield f"This run was stopped {after}{why}.{tested}"
    elif data.status == "unfinished":
        yield f"This run has not told an end: it is still going on, or was killed {after}.{tested}"
    elif not data.tested:
        yield "The run completed, but no hospital could score the model on test patients."


def _arms(data: ReportData) -> Iterator[str]:
    found, name = data.comparison, score_name(data)
    gain = found.gain_on_others
    if math.isnan(gain):
        reached = headline_of(data, data.together)
        if data.tested and not math.isnan(reached):
            yield f"The shared model reached a mean {name} of {score(reached, 2)} on patients that no training saw."
        return
    numbers = f"the shared model reached a mean {name} of {score(found.federated_on_others, 2)}"
    difference = _difference(found.federated_on_others, found.local_on_others)
    alone = f"the models that hospitals trained alone reached {score(found.local_on_others, 2)} ({difference})"
    if gain >= CLEAR:
        yield f"Training together beat training alone: on other hospitals’ patients, {numbers}; {alone}."
    elif gain <= -CLEAR:
        yield f"Training together did worse than training alone: on other hospitals’ patients, {numbers}; {alone}."
    else:
        yield f"Training together made no clear difference: on other hospitals’ patients, {numbers}; {alone}."
    if not math.isnan(found.gain_at_home):
        pair = f"{score(found.federated_at_home, 2)} together, {score(found.local_at_home, 2)} alone"
        yield f"On their own patients: {pair} ({_difference(found.federated_at_home, found.local_at_home)})."


def _difference(together: float, alone: float) -> str:
    # of the numbers as they are shown, or a reader who subtracts them finds another
    return signed(round(together, 2) - round(alone, 2))


def _personal(data: ReportData) -> Iterator[str]:
    """Say whom its personal model serves better or worse than the shared one, on its own test patients."""
    gains = _gains(data)
    if not gains:
        return
    better = {site: gain for site, gain in gains.items() if gain >= CLEAR}
    worse = {site: gain for site, gain in gains.items() if gain <= -CLEAR}
    phrases = [f"do {what} {_where(data, those)}" for what, those in (("better", better), ("worse", worse))]
    if alike := [site for site in gains if site not in better and site not in worse]:
        phrases.insert(
            1, f"make no clear difference at {listing(alike) if len(alike) <= _NAMED else f'{len(alike)} hospitals'}"
        )
    yield f"Against the shared model, the hospitals’ personal models {listing(phrases)}."
    if data.study.local_layers:
        yield (
            "The shared model lacks the layers that stay at the hospitals; it is scored with untrained ones in their place, as "
            "a hospital gets it that joins now."
        )


def _gains(data: ReportData) -> dict[str, float]:
    """Return by how much the personal model serves each hospital better than the shared one, on its own test patients."""
    shared = {t.site: headline_of(data, t) for t in data.tested}
    gains = {t.site: headline_of(data, t) - shared.get(t.site, math.nan) for t in data.personal}
    return {site: gain for site, gain in gains.items() if not math.isnan(gain)}


def _where(data: ReportData, gains: Mapping[str, float]) -> str:
    if not gains:
        return "nowhere"
    patients = {t.site: t.patients for t in data.personal if t.site in gains}
    if len(gains) > _NAMED:
        return f"at {len(gains)} hospitals ({plural(sum(patients.values()), 'test patient')})"
    told = [f"{site} ({signed(gain)} on {plural(patients[site], 'test patient')})" for site, gain in gains.items()]
    return f"at {listing(told)}"


def _worse_off(data: ReportData) -> Iterator[str]:
    found = data.comparison
    losing = [s for s, row in found.local.items() if row.get(s, math.nan) - found.federated_by_site.get(s, math.nan) >= CLEAR]
    if len(losing) == 1:
        yield f"{losing[0]} does better with its own model on its own patients."
    elif losing:
        who = listing(losing) if len(losing) <= _NAMED else f"{len(losing)} of {len(found.local)} hospitals"
        yield f"{who} do better with their own models on their own patients."


def _chance(data: ReportData) -> Iterator[str]:
    patients = data.together.patients if data.together else 0
    if 0 < patients < _FEW:
        yield f"With {plural(patients, 'test patient')} in all, differences of a few hundredths may be chance."
