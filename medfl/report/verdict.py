"""Verdict on a run, for the top of its report: three numbers, and the outcome in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medfl.messages.counts import lower_bound
from medfl.report.formatting import format_difference, format_reason, format_score
from medfl.report.report_data import ReportData
from medfl.report.site_tests import ALL_SITES, SiteTest
from medfl.system.text import format_duration, join_words, plural

CLEAR_DIFFERENCE = 0.01  # smaller differences of Dice or AUROC are called no clear difference
_MAX_NAMED_SITES = 3  # hospitals that a sentence lists by name
_FEW_PATIENTS = 30  # with fewer test patients, the report warns of chance


@dataclass(frozen=True)
class Headline:
    """One of the three numbers: what it is, the number, and what stands behind it."""

    label: str
    value: str
    note: str


def score_name(data: ReportData) -> str:
    """Return the name of the score of the study."""
    return "Dice" if data.study.task.kind == "segmentation" else "AUROC"


def headlines(data: ReportData) -> tuple[Headline, Headline, Headline]:
    """Return the three numbers at the top of the report."""
    return _score_headline(data), _worst_site_headline(data), _local_models_headline(data)


def verdict_sentences(data: ReportData) -> list[str]:
    """Return the outcome of the study: one sentence for each idea, the most important first."""
    return [
        *_ending_sentences(data),
        *_comparison_sentences(data),
        *_personal_sentences(data),
        *_worse_off_sentences(data),
        *_few_patients_sentences(data),
    ]


def test_score(data: ReportData, tested: SiteTest | None) -> float:
    """Return the score of one test, nan where it is not defined or hidden."""
    derived = tested.derived if tested else {}
    return derived.get("dice" if data.study.task.kind == "segmentation" else "auroc", math.nan)


def _score_headline(data: ReportData) -> Headline:
    name = score_name(data)
    if data.overall_test is not None and data.overall_test.patients:
        sites = sum(t.patients > 0 for t in data.site_tests)
        note = f"{plural(data.overall_test.patients, 'test patient')} of {plural(sites, 'hospital')}"
        return Headline(f"{name} of the shared model", format_score(test_score(data, data.overall_test)), note)
    arm = data.arms.get("federated")
    points = arm.scores.get(ALL_SITES, ()) if arm else ()
    if points:
        best_round, best = max(points, key=lambda p: p[1])
        return Headline(
            f"Best {name} on validation patients", format_score(best), f"after round {best_round}; no model was tested"
        )
    if any(tested.is_hidden("") for tested in data.site_tests):
        return Headline(f"{name} of the shared model", "hidden", "over fewer patients than the hospitals’ policies disclose")
    return Headline(f"{name} of the shared model", "none", "no model was scored")


def _worst_site_headline(data: ReportData) -> Headline:
    worst = data.comparison.federated_worst
    if worst is not None and len(data.sites) > 1:
        site, value = worst
        patients = data.comparison.patients.get(site, 0)
        return Headline("Hospital it serves worst", format_score(value), f"{site}, {plural(patients, 'test patient')}")
    done = max((len(arm.rounds) for arm in data.arms.values()), default=0)
    return Headline(
        "Rounds done", f"{done} of {data.study.rounds}", format_duration(data.seconds) if not math.isnan(data.seconds) else ""
    )


def _local_models_headline(data: ReportData) -> Headline:
    comparison = data.comparison
    if not math.isnan(comparison.local_on_others):
        shared = format_score(comparison.federated_on_others)
        note = f"{score_name(data)} on other hospitals’ patients; the shared model there: {shared}"
        return Headline("Models trained alone", format_score(comparison.local_on_others), note)
    patients = lower_bound(site.patients.get("train", 0) for site in data.joined.values())
    return Headline(
        "Patients it was trained on", f"{patients:,}".replace(",", " "), f"at {plural(len(data.joined), 'hospital')}"
    )


def _ending_sentences(data: ReportData) -> Iterator[str]:
    done = max((len(arm.rounds) for arm in data.arms.values()), default=0)
    after = f"after {plural(done, 'round')} of {data.study.rounds}" if done else "before the first round was done"
    untested = "" if data.site_tests else " No model was tested: there is no result to rely on."
    why = f": {format_reason(data.reason)[1].rstrip('.')}" if data.reason else ""
    if data.status == "failed":
        yield f"This run failed {after}{why}.{untested}"
    elif data.status == "stopped":
        yield f"This run was stopped {after}{why}.{untested}"
    elif data.status == "unfinished":
        yield f"This run has no recorded end: it is still going on, or was killed {after}.{untested}"
    elif not data.site_tests:
        yield "The run completed, but no hospital could score the model on test patients."


def _comparison_sentences(data: ReportData) -> Iterator[str]:
    comparison, name = data.comparison, score_name(data)
    gain = comparison.gain_on_others
    if math.isnan(gain):
        reached = test_score(data, data.overall_test)
        if data.site_tests and not math.isnan(reached):
            mean = f"a mean {name} of {format_score(reached, 2)}"
            yield f"The shared model reached {mean} on patients that were not used for training."
        return
    numbers = f"the shared model reached a mean {name} of {format_score(comparison.federated_on_others, 2)}"
    difference = _format_difference(comparison.federated_on_others, comparison.local_on_others)
    alone = f"the models that hospitals trained alone reached {format_score(comparison.local_on_others, 2)} ({difference})"
    if gain >= CLEAR_DIFFERENCE:
        yield f"Training together beat training alone: on other hospitals’ patients, {numbers}; {alone}."
    elif gain <= -CLEAR_DIFFERENCE:
        yield f"Training together did worse than training alone: on other hospitals’ patients, {numbers}; {alone}."
    else:
        yield f"Training together made no clear difference: on other hospitals’ patients, {numbers}; {alone}."
    if not math.isnan(comparison.gain_on_own):
        pair = f"{format_score(comparison.federated_on_own, 2)} together, {format_score(comparison.local_on_own, 2)} alone"
        yield f"On their own patients: {pair} ({_format_difference(comparison.federated_on_own, comparison.local_on_own)})."


def _format_difference(together: float, alone: float) -> str:
    # of the numbers as they are shown, so that a reader who subtracts them gets the same
    return format_difference(round(together, 2) - round(alone, 2))


def _personal_sentences(data: ReportData) -> Iterator[str]:
    """Say which hospitals their personal model serves better or worse than the shared one, on their own test patients."""
    gains = _personal_gains(data)
    if not gains:
        return
    better = {site: gain for site, gain in gains.items() if gain >= CLEAR_DIFFERENCE}
    worse = {site: gain for site, gain in gains.items() if gain <= -CLEAR_DIFFERENCE}
    phrases = [f"do {what} {_format_gains(data, group)}" for what, group in (("better", better), ("worse", worse))]
    if alike := [site for site in gains if site not in better and site not in worse]:
        phrases.insert(
            1,
            f"make no clear difference at {join_words(alike) if len(alike) <= _MAX_NAMED_SITES else f'{len(alike)} hospitals'}",
        )
    yield f"Against the shared model, the hospitals’ personal models {join_words(phrases)}."
    if data.study.local_layers:
        yield (
            "The shared model lacks the layers that stay at the hospitals; it is scored with untrained ones instead, "
            "as a hospital that joins now would get it."
        )


def _personal_gains(data: ReportData) -> dict[str, float]:
    """Return the gain of each hospital's personal model over the shared one, on its own test patients."""
    shared = {t.site: test_score(data, t) for t in data.site_tests}
    gains = {t.site: test_score(data, t) - shared.get(t.site, math.nan) for t in data.personal_tests}
    return {site: gain for site, gain in gains.items() if not math.isnan(gain)}


def _format_gains(data: ReportData, gains: Mapping[str, float]) -> str:
    if not gains:
        return "nowhere"
    patients = {t.site: t.patients for t in data.personal_tests if t.site in gains}
    if len(gains) > _MAX_NAMED_SITES:
        return f"at {len(gains)} hospitals ({plural(sum(patients.values()), 'test patient')})"
    items = [f"{site} ({format_difference(gain)} on {plural(patients[site], 'test patient')})" for site, gain in gains.items()]
    return f"at {join_words(items)}"


def _worse_off_sentences(data: ReportData) -> Iterator[str]:
    comparison = data.comparison
    losing = [
        s
        for s, row in comparison.local.items()
        if row.get(s, math.nan) - comparison.federated_by_site.get(s, math.nan) >= CLEAR_DIFFERENCE
    ]
    if len(losing) == 1:
        yield f"{losing[0]} does better with its own model on its own patients."
    elif losing:
        who = join_words(losing) if len(losing) <= _MAX_NAMED_SITES else f"{len(losing)} of {len(comparison.local)} hospitals"
        yield f"{who} do better with their own models on their own patients."


def _few_patients_sentences(data: ReportData) -> Iterator[str]:
    patients = data.overall_test.patients if data.overall_test else 0
    if 0 < patients < _FEW_PATIENTS:
        yield f"With {plural(patients, 'test patient')} in all, differences of a few hundredths may be chance."
