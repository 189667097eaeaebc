"""A class that the model does not find is in the verdict, as far as hospitals tell of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from medfl.metrics import CaseScore, classification_metrics, derive, merge, segmentation_metrics
from medfl.privacy.suppression import suppress
from medfl.report.report_data import read_report_data
from medfl.report.verdict import verdict_sentences

Make = Callable[..., Any]


def segmented(patients: int, missed: int, present: int) -> Any:
    """Return the metrics of a site where `present` of the patients have a lesion and it is missed in `missed` of them."""

    def score(k: int) -> CaseScore:
        return CaseScore(float(k >= missed), math.nan, math.nan, missed=k < missed, false_positive=False, present=k < present)

    organ = CaseScore(0.9, math.nan, math.nan, missed=False, false_positive=False, present=True)
    patients_of = [(f"p{k}", {"organ": organ, "lesion": score(k)}) for k in range(patients)]
    return segmentation_metrics(patients_of, ("organ", "lesion"), 0.5)


def verdict(maker: Any, sites: dict[str, Any]) -> str:
    merged = merge(maker.study, list(sites.values()))
    answers = {site: {"metrics": metrics, "derived": {}} for site, metrics in sites.items()}
    test = {"event": "test", "arm": "federated", "model": {"round": 1}, "sites": answers, "eval": merged}
    maker.append(test | {"derived": derive(maker.study, merged)})
    return " ".join(verdict_sentences(read_report_data(maker.end())))


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([(12, 12, 12)], "found nothing of lesion in all 12 test patients who have it."),
        ([(8, 8, 8), (6, 4, 4)], "found nothing of lesion in all 12 test patients who have it."),
        ([(8, 5, 8), (6, 1, 4)], "found nothing of lesion in 6 of 12 test patients who have it."),
        ([(1, 1, 1)], "found nothing of lesion in 1 of 1 test patient who has it."),
        ([(8, 5, 8), (6, 0, 4)], ""),
        ([(12, 0, 0)], ""),
    ],
)
def test_a_class_missed_in_half_of_those_who_have_it_is_named(make: Make, sites: list[tuple[int, int, int]], said: str) -> None:
    maker = make("segmentation", "background,organ,lesion", arms="federated")
    text = verdict(maker, {f"site-{k}": segmented(*counts) for k, counts in enumerate(sites)})
    assert (said in text) if said else ("found nothing" not in text)
    assert "organ" not in text


def test_what_a_policy_hides_counts_neither_for_nor_against(make: Make) -> None:
    maker = make("segmentation", "background,organ,lesion", arms="federated")
    told, hidden = suppress(segmented(12, 12, 12), 10), suppress(segmented(30, 3, 30), 10)
    assert "in all 12 test patients who have it (1 other hospital does not tell)." in verdict(maker, {"a": told, "b": hidden})


def test_nothing_is_said_where_every_hospital_hides_it(make: Make) -> None:
    maker = make("segmentation", "background,organ,lesion", arms="federated")
    assert "found nothing" not in verdict(maker, {"a": suppress(segmented(12, 5, 12), 10)})


def test_a_class_that_the_model_calls_another_is_named(make: Make) -> None:
    maker = make("classification", "clear,nodule", arms="federated")
    truth, said = [0] * 10 + [1] * 4, [[0.9, 0.1]] * 13 + [[0.2, 0.8]]
    metrics = classification_metrics([f"p{k}" for k in range(14)], truth, said, ("clear", "nodule"), 0.5)
    text = verdict(maker, {"a": metrics})
    assert "The shared model did not recognise nodule in 3 of 4 test patients who have it." in text
