from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from medfl.evaluation import compare_arms
from medfl.evaluation.arm_comparison import Lowest
from medfl.metrics import CaseScore, classification_metrics, empty_metrics, segmentation_metrics
from medfl.study import Study
from medfl.testing.sites import make_study

STUDY = Study.model_validate(
    {
        "name": "study",
        "rounds": 1,
        "task": {"kind": "segmentation", "dimension": 2, "modality": "US", "classes": "background,organ"},
        "network": {"name": "unet"},
        "loss": {"name": "dice-ce"},
    }
)
CLASSES = make_study("classification")
PATIENTS = {"a": 1, "b": 2, "c": 3}


def event(arm: str, dice: dict[str, float], owner: str = "") -> dict[str, Any]:
    sites = {}
    for site, value in dice.items():
        score = {"organ": CaseScore(value, math.nan, math.nan, missed=False, false_positive=False, present=True)}
        metrics = segmentation_metrics([(f"{site}-{i}", score) for i in range(PATIENTS[site])], ["organ"], 0.5)
        sites[site] = {"metrics": metrics, "derived": {}}
    return {"event": "test", "arm": arm, "model": {"round": 2} | ({"site": owner} if owner else {}), "sites": sites}


EVENTS = [
    {"event": "start"},
    event("federated", {"a": 0.75, "b": 0.5, "c": 1.0}),
    event("local", {"a": 0.5, "b": 0.25, "c": 0.5}, "a"),
    event("local", {"a": 0.0, "b": 0.75, "c": 0.5}, "b"),
    event("local", {"a": 0.25, "b": 0.5, "c": 0.875}, "c"),
]


def test_scores_of_both_arms() -> None:
    got = compare_arms(EVENTS, STUDY)
    assert (got.sites, got.patients) == (("a", "b", "c"), PATIENTS)
    assert got.federated == pytest.approx((0.75 + 2 * 0.5 + 3 * 1.0) / 6)
    assert got.federated_by_site == {"a": 0.75, "b": 0.5, "c": 1.0}
    assert got.local["b"] == {"a": 0.0, "b": 0.75, "c": 0.5}
    assert got.local_on_own == pytest.approx((0.5 + 0.75 + 0.875) / 3)
    assert got.federated_on_own == pytest.approx(0.75)
    assert got.gain_on_own == pytest.approx(0.75 - 2.125 / 3)


def test_other_hospitals_are_weighted_by_their_patients() -> None:
    got = compare_arms(EVENTS, STUDY)
    a, b, c = (2 * 0.25 + 3 * 0.5) / 5, (0.0 + 3 * 0.5) / 4, (0.25 + 2 * 0.5) / 3
    assert got.local_on_others == pytest.approx((a + b + c) / 3)
    fa, fb, fc = (2 * 0.5 + 3 * 1.0) / 5, (0.75 + 3 * 1.0) / 4, (0.75 + 2 * 0.5) / 3
    assert got.federated_on_others == pytest.approx((fa + fb + fc) / 3)
    assert got.gain_on_others == pytest.approx(got.federated_on_others - got.local_on_others)


def test_the_lowest_score_at_a_hospital() -> None:
    got = compare_arms(EVENTS, STUDY)
    assert (got.federated_lowest, got.local_lowest) == (Lowest(0.5, ("b",)), Lowest(0.5, ("a",)))


def test_equal_scores_are_the_lowest_together() -> None:
    assert compare_arms([event("federated", {"a": 0.5, "b": 0.5, "c": 1.0})], STUDY).federated_lowest == Lowest(0.5, ("a", "b"))


def test_pairs_count_only_where_both_models_have_a_score() -> None:
    hidden = event("federated", {"a": 0.75, "b": 0.5, "c": 1.0})
    hidden["sites"]["c"]["metrics"] = empty_metrics(STUDY)
    hidden["sites"]["a"] = {"status": "refused"}
    got = compare_arms([hidden, *EVENTS[2:]], STUDY)
    assert (got.local_on_own, got.federated_on_own) == (0.75, 0.5)  # hospital b alone
    assert (got.local_on_others, got.federated_on_others) == (0.375, 0.5)  # models a and c on b
    assert math.isnan(got.federated_by_site["c"])


def test_without_a_local_arm_there_are_only_federated_scores() -> None:
    got = compare_arms(EVENTS[:2], STUDY)
    assert got.federated == pytest.approx(4.75 / 6)
    assert (got.local, got.local_lowest) == ({}, None)
    assert math.isnan(got.gain_on_others)


def test_a_history_without_tests_has_no_scores() -> None:
    got = compare_arms(EVENTS[:1], STUDY)
    assert (got.sites, got.federated_lowest) == ((), None)
    assert math.isnan(got.federated)


def test_the_last_test_of_a_model_counts() -> None:
    again = event("federated", {"a": 0.0, "b": 0.0, "c": 0.0})
    assert compare_arms([*EVENTS, again], STUDY).federated == 0.0


def scored_event(sites: dict[str, tuple[list[float], list[int]]], owner: str = "") -> dict[str, Any]:
    """Return the test event of a model with these probabilities and labels at each site."""
    answers = {}
    for site, (probabilities, labels) in sites.items():
        both = np.array([[1 - p, p] for p in probabilities])
        patients = [f"{site}-{k}" for k in range(len(labels))]
        answers[site] = {"metrics": classification_metrics(patients, labels, both, CLASSES.task.classes, 0.5)}
    model = {"round": 1} | ({"site": owner} if owner else {})
    return {"event": "test", "arm": "local" if owner else "federated", "model": model, "sites": answers}


def test_the_lowest_auroc_is_the_lowest_that_is_shown_however_few_its_patients() -> None:
    many = [0.1, 0.3, 0.2, 0.8, 0.9], [0, 0, 1, 1, 1]
    got = compare_arms([scored_event({"few": ([0.9, 0.1], [0, 1]), "many": many})], CLASSES)
    assert got.federated_lowest == Lowest(0.0, ("few",))


def test_where_bins_do_not_tell_the_lowest_auroc_each_that_may_have_it_is_named() -> None:
    tied, ordered = ([0.5, 0.5], [0, 1]), ([0.1, 0.9, 0.6], [0, 1, 0])
    got = compare_arms([scored_event({"a": tied, "b": tied, "c": ordered})], CLASSES)
    assert got.federated_lowest == Lowest(0.5, ("a", "b", "c"))  # all pairs of a and b may be in the right order
    assert got.max_error == 0.5


def test_the_error_of_a_difference_is_that_of_both_models() -> None:
    tied, ordered = ([0.5, 0.5], [0, 1]), ([0.1, 0.9], [0, 1])
    events = [scored_event({"a": tied, "b": ordered}), *(scored_event({"a": tied, "b": tied}, owner) for owner in "ab")]
    got = compare_arms(events, CLASSES)
    assert got.error_on_own == pytest.approx((1.0 + 0.5) / 2)
    assert got.error_on_others == pytest.approx((0.5 + 1.0) / 2)
    assert (got.owners_on_own, got.owners_on_others) == (2, 2)
