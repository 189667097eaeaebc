"""Suppression of small counts: no count of 1 to k - 1 patients leaves, nor one that follows from what leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medfl.messages.records import Metrics
from medfl.metrics import (
    CaseScore,
    check,
    classification_metrics,
    derive,
    empty_metrics,
    merge,
    segmentation_metrics,
)
from medfl.metrics.curves import BINS, mirror
from medfl.privacy.suppression import suppress
from medfl.study import Study

K = 5


def make_study(kind: str, classes: str) -> Study:
    segmentation = kind == "segmentation"
    values: dict[str, Any] = {
        "name": "study",
        "rounds": 1,
        "task": {"kind": kind, "dimension": 2, "modality": "US", "classes": classes},
        "preprocessing": {"size": "32,32"},
        "network": {"name": "unet" if segmentation else "cnn"},
        "loss": {"name": "dice-ce" if segmentation else "cross-entropy"},
    }
    return Study.model_validate(values)


ORGANS = make_study("segmentation", "background,liver,tumour")
TWO = make_study("classification", "benign,malignant")


def segmented(patients: int, tumours: int, *, missed: int = 0, false_positive: int = 0, dice: float = 0.75) -> Metrics:
    """Everybody has a liver, the first have a tumour; the first tumours are missed, the last patients get a false one."""
    liver = CaseScore(0.9, 2.0, 0.9, missed=False, false_positive=False, present=True)
    scores = []
    for k in range(patients):
        present, lost, found = k < tumours, k < missed, k >= patients - false_positive
        value = (0.0 if lost else dice) if present else 0.0 if found else 1.0
        tumour = CaseScore(value, 2.0, value, missed=lost, false_positive=found, present=present)
        scores.append((f"pat-{k}", {"liver": liver, "tumour": tumour}))
    return segmentation_metrics(scores, ["liver", "tumour"], 0.25)


def classified(labels: list[int], p: Any) -> Metrics:
    p = np.asarray(p, dtype=float)
    return classification_metrics(
        [f"pat-{k}" for k in range(len(labels))], labels, np.stack([1 - p, p], 1), ("benign", "malignant"), 0.5
    )


def small(metrics: Metrics) -> set[str]:
    """Return the counts of 1 to K - 1; the flags that end in hidden are no counts of patients."""
    counts = {key: value for key, value in metrics.items() if "hidden" not in key}
    listed = {key: value if isinstance(value, list) else [value] for key, value in counts.items()}
    return {key for key, values in listed.items() if any(isinstance(v, int) and 0 < v < K for v in values)}


@pytest.mark.parametrize("metrics", [segmented(3, 2, missed=1), classified([0, 1, 1], [0.1, 0.7, 0.9])], ids=["mask", "class"])
def test_without_a_rule_nothing_is_suppressed(metrics: Metrics) -> None:
    assert small(metrics)
    assert suppress(metrics, 0) == metrics


@pytest.mark.parametrize("study", [ORGANS, TWO], ids=lambda s: s.task.kind)
def test_of_few_patients_only_that_they_are_few_leaves(study: Study) -> None:
    metrics = segmented(4, 2) if study is ORGANS else classified([0, 1, 1, 0], [0.1, 0.7, 0.9, 0.2])
    result = suppress(metrics | {"train.patients": 20}, K)
    assert result == empty_metrics(study) | {"train.patients": 20, "eval.hidden": 1}
    check(study, result)
    nobody = empty_metrics(study)
    assert suppress(nobody, K) == nobody  # no patients are reported as none


@pytest.mark.parametrize(("tumours", "hidden"), [(0, 0), (2, 1), (5, 0), (15, 0), (17, 1), (20, 0)])
def test_a_class_of_few_patients_is_hidden_and_so_is_one_that_few_lack(tumours: int, hidden: int) -> None:
    result = suppress(segmented(20, tumours), K)
    assert result["eval.scores-hidden.tumour"] == hidden
    assert bool(result["eval.patients.tumour"]) != bool(hidden)
    assert (result["eval.dice.tumour"] == 0.0) == bool(hidden)
    assert (result["eval.patients"], result["eval.dice.liver"]) == (20, 0.9)
    assert small(result) == set()


@pytest.mark.parametrize(("missed", "hidden"), [(0, 0), (1, 1), (5, 0), (7, 1), (10, 0)])
def test_few_missed_patients_are_hidden_and_so_are_few_found_ones(missed: int, hidden: int) -> None:
    result = suppress(segmented(20, 10, missed=missed), K)
    assert result["eval.missed-hidden.tumour"] == hidden
    assert result["eval.missed.tumour"] == (0 if hidden else missed)
    assert result["eval.scores-hidden.tumour"] == 0
    assert math.isnan(derive(ORGANS, result)["missed.tumour"]) == bool(hidden)


def test_the_dice_of_a_class_that_nobody_has_would_reveal_the_false_positives() -> None:
    assert suppress(segmented(20, 0, false_positive=2), K)["eval.scores-hidden.tumour"] == 1
    assert suppress(segmented(20, 10, missed=10, false_positive=2), K)["eval.scores-hidden.tumour"] == 1
    shown = suppress(segmented(20, 10, false_positive=2), K)
    assert (shown["eval.scores-hidden.tumour"], shown["eval.false-positive-hidden.tumour"]) == (0, 1)


def test_merged_means_are_those_of_the_sites_that_hide_nothing() -> None:
    shown, hidden, few = suppress(segmented(20, 8, dice=0.5), K), suppress(segmented(30, 2, dice=1.0), K), segmented(3, 1)
    merged = merge(ORGANS, [shown, hidden, suppress(few, K)])
    assert merged["eval.dice.tumour"] == shown["eval.dice.tumour"]
    assert (merged["eval.patients"], merged["eval.patients.liver"], merged["eval.patients.tumour"]) == (50, 50, 20)
    assert (merged["eval.hidden"], merged["eval.scores-hidden.tumour"], merged["eval.scores-hidden.liver"]) == (1, 1, 0)
    derived = derive(ORGANS, hidden)
    assert math.isnan(derived["dice.tumour"])
    assert derived["dice"] == derived["dice.liver"] == 0.9


@pytest.mark.parametrize(("labels", "hidden"), [([0] * 18 + [1] * 2, 1), ([1] * 18 + [0] * 2, 1), ([0] * 15 + [1] * 5, 0)])
def test_of_two_classes_both_are_hidden_when_one_is_few(labels: list[int], hidden: int) -> None:
    result = suppress(classified(labels, np.linspace(0.05, 0.95, 20)), K)
    assert [result[f"eval.scores-hidden.{name}"] for name in ("benign", "malignant")] == [hidden, hidden]
    assert (result["eval.patients"], result["eval.confusion-hidden"]) == (20, hidden)
    assert small(result) == set()
    assert math.isnan(derive(TWO, result)["auroc"]) == bool(hidden)


@pytest.mark.parametrize(
    ("sizes", "hidden"), [((50, 48, 2), "bc"), ((50, 8, 2), "bc"), ((20, 20, 20), ""), ((30, 2, 2, 6), "bcd")]
)
def test_visible_classes_do_not_reveal_a_hidden_one(sizes: tuple[int, ...], hidden: str) -> None:
    names = "abcd"[: len(sizes)]
    study = make_study("classification", ",".join(names))
    labels = [index for index, size in enumerate(sizes) for _ in range(size)]
    scores = np.random.default_rng(0).dirichlet(np.ones(len(sizes)), len(labels))
    metrics = classification_metrics([str(k) for k in range(len(labels))], labels, scores, study.task.classes, 0.0)
    result = suppress(metrics, K)
    assert "".join(name for name in names if result[f"eval.scores-hidden.{name}"]) == hidden
    assert small(result) == set()
    check(study, result)


def test_no_bin_holds_few_patients_and_the_sums_are_kept() -> None:
    rng = np.random.default_rng(1)
    labels = [k % 2 for k in range(60)]
    metrics = classified(labels, rng.random(60))
    result = suppress(metrics, K)
    assert small(result) == set()
    for name in ("positives", "negatives"):
        assert sum(result[f"eval.{name}.malignant"]) == 30  # type: ignore[arg-type]
        assert len(result[f"eval.{name}.malignant"]) == BINS  # type: ignore[arg-type]
    turned = mirror(result["eval.negatives.malignant"])  # type: ignore[arg-type]
    assert result["eval.positives.benign"] == turned  # the same groups: two groupings would reveal their difference
    count, confidence = "eval.calibration-count", "eval.calibration-confidence"
    assert sum(result[count]) == 60  # type: ignore[arg-type]
    assert sum(result[confidence]) == pytest.approx(sum(metrics[confidence]), abs=0.01)  # type: ignore[arg-type]
    assert derive(TWO, result)["auroc.benign"] == pytest.approx(derive(TWO, result)["auroc"], abs=0.02)


def test_few_wrong_predictions_hide_the_decisions() -> None:
    sure = [0.1] * 20 + [0.9] * 20
    few_wrong = [0.1] * 20 + [0.9] * 18 + [0.2] * 2
    labels = [0] * 20 + [1] * 20
    assert derive(TWO, suppress(classified(labels, sure), K))["accuracy"] == 1.0
    result = suppress(classified(labels, few_wrong), K)
    assert (result["eval.confusion-hidden"], result["eval.calibration-hidden"]) == (1, 1)
    assert math.isnan(derive(TWO, result)["accuracy"])
    assert not math.isnan(derive(TWO, result)["auroc"])


@pytest.mark.parametrize("skill", [0.5, 1.3, 2.5])
@pytest.mark.parametrize(
    ("k", "patients", "alone", "merged"), [(5, 100, 0.015, 0.005), (10, 100, 0.045, 0.02), (10, 400, 0.005, 0.002)]
)
def test_the_auroc_of_grouped_bins_is_near_that_of_the_scores(
    k: int, patients: int, alone: float, merged: float, skill: float
) -> None:
    rng = np.random.default_rng(7)
    errors, parts, truth, scores = [], [], [], []
    for _ in range(20):
        y = np.repeat([0, 1], [patients * 6 // 10, patients * 4 // 10])
        p = 1 / (1 + np.exp(-(rng.normal(size=patients) + skill * y)))
        parts.append(suppress(classified(y.tolist(), p), k))
        truth, scores = [*truth, *y], [*scores, *p]
        errors.append(derive(TWO, parts[-1])["auroc"] - roc_auc_score(y, p))
    assert np.sqrt(np.mean(np.square(errors))) < alone  # of one site; of 100 patients, chance alone makes about 0.05
    assert derive(TWO, merge(TWO, parts))["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=merged)


def test_means_are_rounded_to_three_digits() -> None:
    metrics = segmented(20, 10, dice=1 / 3)
    assert suppress(metrics, K)["eval.dice.tumour"] == round(2 / 3, 3)
    assert suppress(metrics, 0)["eval.dice.tumour"] == pytest.approx(2 / 3, abs=1e-12)
