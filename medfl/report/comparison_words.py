"""Answer of a comparison in words and in three numbers: only as strong as its tests and intervals allow."""

from __future__ import annotations

import math
from collections.abc import Iterator

from medfl.report.comparison_data import ArmRecord, ComparisonData, DifferenceRecord
from medfl.report.formatting import format_difference, format_score
from medfl.report.verdict import Headline
from medfl.system.text import join_words, plural

ARM_MEANINGS = {
    "federated": "one shared model, trained at all hospitals without moving their images",
    "local": "one model at each hospital, trained on its own patients alone, and tested on them",
    "local elsewhere": "each hospital’s patients, by the models that the others trained alone; the mean over these counts",
    "pooled": "one model, trained on the patients of all hospitals in one place, which no real federation may do",
    "ensemble": "no training: the mean of the answers of all hospitals’ own models",
    "fine-tuned": "the shared model, trained further at each hospital alone, and tested on its patients",
}
_NOUNS = {
    "local": "the models that hospitals trained alone",
    "local elsewhere": "the models that other hospitals trained alone",
    "pooled": "one model trained on all patients in one place",
    "ensemble": "the mean of the hospitals’ own models",
    "fine-tuned": "the shared model trained further at each hospital",
}


def answer_sentences(data: ComparisonData) -> list[str]:
    """Return what the comparison shows: one sentence for each idea, the most important first."""
    return [
        *_main_sentences(data),
        *_pooled_sentences(data),
        *_other_sentences(data),
        *_precision_sentences(data),
    ]


def comparison_headlines(data: ComparisonData) -> tuple[Headline, ...]:
    """Return the three numbers at the top: the score of the federated arm, and its differences to two others."""
    first = data.federated or next(iter(data.arms), None)
    if first is None:
        return ()
    note = f"{format_ci(first.interval)}; {plural(first.patients, 'test patient')} of {plural(len(data.hospitals), 'hospital')}"
    found = [Headline(f"{data.score_name}, {first.title}", format_score(first.score), note, first.score)]
    compared = [data.against("local"), data.against("pooled"), *data.answers]
    chosen = {each.second: each for each in compared if each}
    return (*found, *map(_difference_headline, list(chosen.values())[:2]))


def format_ci(interval: tuple[float, float] | None, *, signed: bool = False) -> str:
    """Return a 95 % interval in words.

    Examples
    --------
    >>> format_ci((0.7, 0.8)), format_ci((-0.1, 0.2), signed=True), format_ci(None)
    ('95 % 0.700 to 0.800', '95 % −0.100 to +0.200', 'no interval: too few patients')
    """
    if interval is None:
        return "no interval: too few patients"
    low, high = (format_difference(value, 3) if signed else format_score(value) for value in interval)
    return f"95 % {low} to {high}"


def format_p(p_value: float | None) -> str:
    """Return a p-value.

    Examples
    --------
    >>> format_p(0.0301), format_p(0.00002), format_p(None)
    ('p = 0.030', 'p < 0.001', 'p not known')
    """
    return "p not known" if p_value is None else "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _difference_headline(each: DifferenceRecord) -> Headline:
    note = f"{format_ci(each.interval, signed=True)}; {format_p(each.p_value)}; {_verdict_word(each)}"
    label = f"{each.first} minus {each.second}"
    return Headline(label, format_difference(each.difference, 3), note, each.difference)


def _verdict_word(each: DifferenceRecord) -> str:
    return {"higher": "higher", "lower": "lower"}.get(each.verdict, "which is higher is not known")


def _main_sentences(data: ComparisonData) -> Iterator[str]:
    federated, difference = data.federated, data.against("local")
    if federated is None:
        yield "No federated arm completed, so there is no answer yet." if data.arms else "No arm completed."
        return
    if difference is None:
        scored = f"{format_score(federated.score)} ({format_ci(federated.interval)})"
        yield f"The model trained together reached {_article(data)} {scored}; it was not compared with training alone."
        return
    numbers = _numbers(data, difference)
    if difference.verdict == "higher":
        yield f"On patients of these hospitals, the model trained together was better than {_NOUNS['local']}: {numbers}."
    elif difference.verdict == "lower":
        yield f"On patients of these hospitals, the model trained together was worse than {_NOUNS['local']}: {numbers}."
    else:
        patients = plural(federated.patients, "test patient")
        yield (
            f"From {patients} it is not known whether the model trained together is better or worse than {_NOUNS['local']}: "
            f"{numbers}."
        )
        yield from _patients_needed(difference)


def _pooled_sentences(data: ComparisonData) -> Iterator[str]:
    difference = data.against("pooled")
    if difference is None:
        return
    numbers = _numbers(data, difference)
    if difference.verdict in ("higher", "lower"):
        yield f"It was {_better(difference)} than {_NOUNS['pooled']}: {numbers}."
    else:
        yield f"Whether it differs from {_NOUNS['pooled']} is not known: {numbers}."
        yield from _patients_needed(difference)
    if difference.margin is not None:
        told = "It is not worse" if difference.not_inferior else "It is not shown that it is not worse"
        yield f"{told} than that by more than {difference.margin:g}, the margin that the study named beforehand."


def _other_sentences(data: ComparisonData) -> Iterator[str]:
    """Tell of the other arms, and of further strategies: those that differ, then those of which it is not known."""
    rest = [each for each in data.answers if data.arm_of(each.second) not in ("local", "pooled")]
    for each in rest:
        if each.verdict in ("higher", "lower"):
            yield f"It was {_better(each)} than {_noun(data, each.second)}: {_numbers(data, each)}."
    if unknown := [_noun(data, each.second) for each in rest if each.verdict not in ("higher", "lower")]:
        yield f"Whether it differs from {join_words(unknown, 'or')} is not known; the numbers are below."


def _noun(data: ComparisonData, title: str) -> str:
    """Return a name of an arm for a sentence, with its strategy where that is another than the first one's."""
    arm = next((each for each in data.arms if each.title == title), None)
    if arm is None or arm.arm not in _NOUNS:
        return title
    first = data.federated.strategy if data.federated else ""
    return _NOUNS[arm.arm] if arm.strategy in ("", first) else f"{_NOUNS[arm.arm]} by {arm.strategy}"


def _precision_sentences(data: ComparisonData) -> Iterator[str]:
    if data.failed:
        yield f"{plural(len(data.failed), 'run')} failed; the reasons are below."
    yield from data.left_out
    if data.federated and data.federated.seed_sd is not None:
        spread = f"a standard deviation of {data.federated.seed_sd:.3f}"
        yield f"Its scores with {plural(data.federated.seeds, 'seed')} have {spread}, which no interval here holds."
    elif len(data.seeds) == 1:
        yield "One seed was run, so what another seed would change is not known."
    strategies = [each.title for each in data.arms if each.arm == "federated"]
    if len(strategies) > 1:
        yield f"Together means {strategies[0]} here: the first that was named, not the one with the highest score."


def _patients_needed(difference: DifferenceRecord) -> Iterator[str]:
    if difference.needed is not None:
        patients = f"{difference.needed.patients:,}".replace(",", " ")
        size = "what it looks like" if difference.needed.to_find == "difference" else "as large as the margin"
        yield f"To know it, about {patients} test patients of these hospitals would be needed, if the difference is {size}."


def _numbers(data: ComparisonData, each: DifferenceRecord) -> str:
    scores = {arm.title: arm for arm in data.arms}
    first, second = (_score_of(scores.get(title)) for title in (each.first, each.second))
    interval = format_ci(each.interval, signed=True)
    return (
        f"{data.score_name} {first} against {second}, a difference of {format_difference(each.difference, 3)} "
        f"({interval}; {format_p(each.p_value)})"
    )


def _score_of(arm: ArmRecord | None) -> str:
    return format_score(arm.score if arm else math.nan)


def _better(each: DifferenceRecord) -> str:
    return "better" if each.verdict == "higher" else "worse"


def _article(data: ComparisonData) -> str:
    return "a Dice of" if data.score_name == "Dice" else "an AUROC of"
