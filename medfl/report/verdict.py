"""Outcome of a run, for the top of its report: three numbers, and what was measured, on whom, in plain sentences.

Nothing is called better or worse: the numbers are point estimates, which do not tell a difference from chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from medfl.messages.counts import lower_bound
from medfl.report.formatting import format_difference, format_error, format_percent, format_reason, format_score
from medfl.report.missed_classes import missed_sentences
from medfl.report.report_data import ReportData, is_mostly_one
from medfl.report.site_tests import ALL_SITES, SiteTest
from medfl.runs.summaries import ANY_SCORE
from medfl.study.model_words import describe_part
from medfl.system.text import format_duration, join_words, plural

_MAX_NAMED_SITES = 3  # hospitals that a sentence lists by name


@dataclass(frozen=True)
class Headline:
    """One of the three numbers: what it is, its text, what stands behind it, and the number itself, nan for none."""

    label: str
    value: str
    note: str
    number: float = math.nan


def score_name(data: ReportData) -> str:
    """Return the name of the score of the study."""
    return "Dice" if data.study.task.kind == "segmentation" else "AUROC"


def headlines(data: ReportData) -> tuple[Headline, Headline, Headline]:
    """Return the three numbers at the top of the report."""
    return _score_headline(data), _lowest_site_headline(data), _local_models_headline(data)


def verdict_sentences(data: ReportData) -> list[str]:
    """Return the outcome of the study: one sentence for each idea, the most important first."""
    return [
        *_ending_sentences(data),
        *_share_sentences(data),
        *_comparison_sentences(data),
        *_external_sentences(data),
        *missed_sentences(data),
        *_personal_sentences(data),
        *_precision_sentences(data),
        *(f"{told[0].upper()}{told[1:]}." for told in describe_part(data.study)),
    ]


def test_score(data: ReportData, tested: SiteTest | None) -> float:
    """Return the score of one test, nan where it is not defined or hidden, or so coarse that it may be any."""
    derived = tested.derived if tested else {}
    return derived.get(_score_key(data), math.nan) if test_error(data, tested) < ANY_SCORE else math.nan


def test_error(data: ReportData, tested: SiteTest | None) -> float:
    """Return how far the score of one test may be from that of the single scores; 0 for Dice."""
    return tested.errors.get(_score_key(data), 0.0) if tested else 0.0


def _score_key(data: ReportData) -> str:
    return "dice" if data.study.task.kind == "segmentation" else "auroc"


def _score_headline(data: ReportData) -> Headline:
    name = score_name(data)
    if data.overall_test is not None and test_error(data, data.overall_test) >= ANY_SCORE:
        note = "the bins in which scores are told are too coarse for so few patients: any value is possible"
        return Headline(f"{name} over all test patients", "not known", note)
    if data.overall_test is not None and data.overall_test.patients:
        error, score = format_error(test_error(data, data.overall_test)), test_score(data, data.overall_test)
        note = f"of the shared model; {_all_test_patients(data)}{f'; {error} from its bins' if error else ''}"
        return Headline(f"{name} over all test patients", format_score(score), note, score)
    arm = data.arms.get("federated")
    points = arm.scores.get(ALL_SITES, ()) if arm else ()
    if points:
        best_round, best = max(points, key=lambda p: p[1])
        return Headline(
            f"Best {name} on validation patients", format_score(best), f"after round {best_round}; no model was tested", best
        )
    if any(tested.is_hidden("") for tested in data.site_tests):
        return Headline(f"{name} of the shared model", "hidden", "the hospitals’ policies do not disclose it")
    return Headline(f"{name} of the shared model", "none", "no model was scored")


def _all_test_patients(data: ReportData) -> str:
    told = [tested for tested in data.site_tests if tested.patients and not tested.hides_scores()]
    hidden = sum(tested.hides_scores() for tested in data.site_tests)
    who = f"{plural(sum(tested.patients for tested in told), 'test patient')} of {plural(len(told), 'hospital')}"
    others = f" ({plural(hidden, 'other hospital hides its', 'other hospitals hide their')} scores)" if hidden else ""
    return f"{who}{' together' if len(told) != 1 else ''}{others}"


def _lowest_site_headline(data: ReportData) -> Headline:
    lowest = data.comparison.federated_lowest
    if lowest is not None and sum(not math.isnan(test_score(data, tested)) for tested in data.site_tests) > 1:
        patients = [data.comparison.patients.get(site, 0) for site in lowest.sites]
        where = (
            join_words(lowest.sites, "or") if len(lowest.sites) <= _MAX_NAMED_SITES else f"one of {len(lowest.sites)} hospitals"
        )
        note = f"{where}, {plural(patients[0], 'test patient')}" if len(patients) == 1 else f"{where}: too close to tell apart"
        return Headline(f"Lowest {score_name(data)} at one hospital", format_score(lowest.score), note, lowest.score)
    done = max((len(arm.rounds) for arm in data.arms.values()), default=0)
    return Headline(
        "Rounds done", f"{done} of {data.study.rounds}", "" if math.isnan(data.seconds) else format_duration(data.seconds), done
    )


def _local_models_headline(data: ReportData) -> Headline:
    comparison = data.comparison
    if not math.isnan(alone := comparison.local_on_others):
        shared = format_score(comparison.federated_on_others)
        models = plural(comparison.owners_on_others, "model")
        note = f"mean {score_name(data)} of {models}, each on the other hospitals’ patients; the shared model there: {shared}"
        return Headline("Models trained alone", format_score(alone), note, alone)
    trained = _trained_sites(data)
    patients = lower_bound(site.patients.get("train", 0) for name, site in data.joined.items() if name in trained)
    where = f"at {plural(len(trained), 'hospital')}"
    return Headline("Patients it was trained on", f"{patients:,}".replace(",", " "), where, patients)


def _trained_sites(data: ReportData) -> set[str]:
    """Return the hospitals that joined and whose model counted in a round, if only once: one may have been revoked before."""
    rounds = [done for arm in data.arms.values() for done in arm.rounds]
    counted = {site for done in rounds for site in (*done.used, *done.shares)}
    return set(data.joined) & counted if counted else set(data.joined)


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


def _share_sentences(data: ReportData) -> Iterator[str]:
    """Name a hospital whose patients, as it told, outweigh those of all others together."""
    federated = data.arms.get("federated")
    last = federated.rounds[-1] if federated and federated.rounds else None
    if last is not None and is_mostly_one(last.shares):
        site, share = max(last.shares.items(), key=lambda item: item[1])
        yield (
            f"{site} held {format_percent(share)} of the weight in round {last.number}: the shared model is mostly its own, "
            f"and what it told of its size decides that."
        )


def _comparison_sentences(data: ReportData) -> Iterator[str]:
    comparison, name = data.comparison, score_name(data)
    if math.isnan(comparison.gain_on_others):
        reached = test_score(data, data.overall_test)
        if data.site_tests and not math.isnan(reached):
            bound = format_error(test_error(data, data.overall_test), 2)
            score = f"{name} of {format_score(reached, 2)}{f' ({bound} from its bins)' if bound else ''}"
            article = "a" if name == "Dice" else "an"
            yield f"Over {_all_test_patients(data)}, none used for training, the shared model reached {article} {score}."
        return
    together, alone = comparison.federated_on_others, comparison.local_on_others
    difference = _format_difference(together, alone, comparison.error_on_others)
    yield (
        f"On other hospitals’ patients, the shared model reached a mean {name} of {format_score(together, 2)}, and the models "
        f"that hospitals trained alone {format_score(alone, 2)} ({difference}; means over "
        f"{plural(comparison.owners_on_others, 'hospital')}, each scored on the patients of all others)."
    )
    if not math.isnan(comparison.gain_on_own):
        together, alone = comparison.federated_on_own, comparison.local_on_own
        difference = _format_difference(together, alone, comparison.error_on_own)
        yield (
            f"On their own patients: {format_score(together, 2)} together, {format_score(alone, 2)} alone "
            f"({difference}; means over {plural(comparison.owners_on_own, 'hospital')})."
        )


def _external_sentences(data: ReportData) -> Iterator[str]:
    """Say how the shared model scored where no patient has seen it or chosen it."""
    for test in (each for each in data.external_tests if each.arm == "federated" and not math.isnan(each.score)):
        sites = sorted(test.patients)
        where = join_words(sites) if len(sites) <= _MAX_NAMED_SITES else f"{len(sites)} hospitals"
        interval = f"95 % {' to '.join(format_score(x, 2) for x in test.interval)}; " if test.interval else ""
        yield (
            f"At {where}, where no patient was used for training or for the choice of a model, the {score_name(data)} of the "
            f"shared model was {format_score(test.score, 2)} ({interval}{plural(sum(test.patients.values()), 'patient')})."
        )


def _format_difference(together: float, alone: float, error: float) -> str:
    """Return a difference of two scores, or that it is too small for the bins of an AUROC to show."""
    if 0 < abs(together - alone) <= error and (bound := format_error(error, 2)):
        return f"a difference within {bound}, which the bins of the AUROC cannot show"
    # of the numbers as they are shown, so that a reader who subtracts them gets the same
    return f"difference {format_difference(round(together, 2) - round(alone, 2))}"


def _personal_sentences(data: ReportData) -> Iterator[str]:
    """Say how the hospitals' personal models scored beside the shared one, on their own test patients."""
    pairs = _personal_pairs(data)
    if not pairs:
        return
    if len(pairs) <= _MAX_NAMED_SITES:
        items = [f"{p.site} ({_format_difference(*scores)}, {plural(p.patients, 'test patient')})" for p, scores in pairs]
        yield f"Personal models beside the shared one, each on its hospital’s own patients: {join_words(items)}."
    else:
        gains = [personal - shared for _, (personal, shared, _) in pairs]
        patients = plural(sum(p.patients for p, _ in pairs), "test patient")
        bound = format_error(max(error for _, (*_, error) in pairs), 2)
        exact = f", each up to {bound} from its bins" if bound else ""
        yield (
            f"Personal models minus the shared one, each on its hospital’s own patients: {format_difference(min(gains))} to "
            f"{format_difference(max(gains))} at {len(pairs)} hospitals ({patients}{exact})."
        )
    if data.study.local_layers:
        yield (
            "The shared model lacks the layers that stay at the hospitals; it is scored with untrained ones instead, "
            "as a hospital that joins now would get it."
        )


def _personal_pairs(data: ReportData) -> list[tuple[SiteTest, tuple[float, float, float]]]:
    """Return the test of each hospital's personal model, its score, that of the shared model, and their largest error."""
    shared = {t.site: t for t in data.site_tests}
    pairs = []
    for personal in data.personal_tests:
        beside = shared.get(personal.site)
        scores = test_score(data, personal), test_score(data, beside)
        if not math.isnan(sum(scores)):
            pairs.append((personal, (*scores, test_error(data, personal) + test_error(data, beside))))
    return pairs


def _precision_sentences(data: ReportData) -> Iterator[str]:
    """Say on how many patients differences were measured, and that this does not make them more than chance."""
    if math.isnan(data.comparison.gain_on_others) and not _personal_pairs(data):
        return
    patients = data.overall_test.patients if data.overall_test else sum(data.comparison.patients.values())
    yield (
        f"This is what was measured on {plural(patients, 'test patient')}; without an interval it does not show "
        "which is better, and small differences may be chance."
    )
