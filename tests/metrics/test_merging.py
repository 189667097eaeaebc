from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from flwr.app import MetricRecord

from medfl.errors import ExchangeError
from medfl.messages.records import Metrics
from medfl.metrics import (
    CaseScore,
    check,
    classification_metrics,
    derive,
    empty_metrics,
    has_surface_metrics,
    headline,
    merge,
    segmentation_metrics,
)
from medfl.study import Study

CLASSES = ("benign", "malignant")


def make_study(kind: str) -> Study:
    segmentation = kind == "segmentation"
    values: dict[str, Any] = {
        "name": "study",
        "rounds": 1,
        "task": {
            "kind": kind,
            "dimension": 2,
            "modality": "US",
            "classes": "background,core,edema" if segmentation else "benign,malignant",
        },
        "preprocessing": {"size": "32,32"},
        "network": {"name": "unet" if segmentation else "cnn"},
        "loss": {"name": "dice-ce" if segmentation else "cross-entropy"},
    }
    return Study.model_validate(values)


SEGMENTATION, CLASSIFICATION = make_study("segmentation"), make_study("classification")


def segmented(start: int, count: int, loss: float = 0.0) -> Metrics:
    rng = np.random.default_rng(start)

    def score(missed: bool) -> CaseScore:
        return CaseScore(rng.random(), rng.random(), rng.random(), missed=missed, false_positive=False, present=True)

    scores = [(f"pat-{start + i}", {"core": score(i == 0), "edema": score(False)}) for i in range(count)]
    return segmentation_metrics(scores, ["core", "edema"], loss)


def classified(first: int, last: int) -> Metrics:
    rng = np.random.default_rng(3)
    labels, p = rng.integers(0, 2, 60), rng.random(60)
    names = [f"pat-{i}" for i in range(first, last)]
    return classification_metrics(names, labels[first:last], np.stack([1 - p, p], 1)[first:last], CLASSES, 0.25)


def test_means_are_weighted_by_patients_and_counts_are_summed() -> None:
    def site(dice: float, patients: int) -> Metrics:
        one = {
            name: CaseScore(dice, 4 * dice, dice, missed=True, false_positive=False, present=True) for name in ("core", "edema")
        }
        return segmentation_metrics([(str(i), one) for i in range(patients)], ["core", "edema"], dice)

    merged = merge(SEGMENTATION, [site(0.5, 3), site(1.0, 1)])
    assert (merged["eval.patients"], merged["eval.surface-patients"], merged["eval.missed.core"]) == (4, 4, 4)
    assert (merged["eval.dice.core"], merged["eval.hd95.edema"], merged["eval.loss"]) == (0.625, 2.5, 0.625)
    assert headline(SEGMENTATION, merged) == 0.625


def test_parts_of_a_classification_merge_to_the_whole() -> None:
    merged = merge(CLASSIFICATION, [classified(0, 7), classified(7, 30), classified(30, 60)])
    whole = classified(0, 60)
    confidence = "eval.calibration-confidence"
    assert merged.pop(confidence) == pytest.approx(whole.pop(confidence))
    assert merged == whole


@pytest.mark.parametrize("study", [SEGMENTATION, CLASSIFICATION], ids=lambda s: s.task.kind)
def test_the_order_of_sites_does_not_change_a_bit(study: Study) -> None:
    if study is SEGMENTATION:
        parts = [segmented(0, 3, 0.1), segmented(10, 11, 0.7), segmented(50, 7, 0.3), segmented(90, 1, 0.9)]
    else:
        parts = [classified(0, 7), classified(7, 30), classified(30, 31), classified(31, 60)]
    merged = [merge(study, list(order)) for order in itertools.permutations(parts)]
    assert all(m == merged[0] for m in merged)


@pytest.mark.parametrize("study", [SEGMENTATION, CLASSIFICATION], ids=lambda s: s.task.kind)
def test_sites_without_patients_are_left_out(study: Study) -> None:
    empty = empty_metrics(study)
    some = segmented(0, 3) if study is SEGMENTATION else classified(0, 40)
    assert empty.keys() == some.keys()
    assert merge(study, [empty, some, empty | {"eval.loss": 1.0}]) == merge(study, [some])
    assert merge(study, [some]) == (pytest.approx(some) if study is SEGMENTATION else some)
    assert merge(study, []) == merge(study, [empty]) == empty
    assert math.isnan(headline(study, empty))
    assert derive(study, empty).keys() == derive(study, some).keys()


def test_surface_means_are_weighted_by_the_patients_they_come_from() -> None:
    measured, unmeasured = segmented(0, 2), segmented(10, 5) | {"eval.surface-patients": 0, "eval.hd95.core": 0.0}
    merged = merge(SEGMENTATION, [measured, unmeasured])
    assert merged["eval.hd95.core"] == pytest.approx(measured["eval.hd95.core"])
    assert has_surface_metrics(merged)
    assert not has_surface_metrics(unmeasured)
    assert math.isnan(derive(SEGMENTATION, unmeasured)["hd95.core"])
    assert not has_surface_metrics(classified(0, 5))


def test_other_metrics_of_a_reply_are_not_merged() -> None:
    assert merge(SEGMENTATION, [segmented(0, 2) | {"train.loss": 1.0}]).keys() == empty_metrics(SEGMENTATION).keys()


@pytest.mark.parametrize(
    "change",
    [
        {"eval.patients": -1},
        {"eval.patients": 1.5},
        {"eval.confusion": [0, 0]},
        {"eval.loss": [1.0]},
        {"eval.loss": float("nan")},
        {"eval.samples": [1]},
    ],
)
def test_metrics_of_another_form_are_refused(change: Metrics) -> None:
    with pytest.raises(ExchangeError, match="METRICS-MISMATCH"):
        check(CLASSIFICATION, classified(0, 5) | change)


def test_an_absent_metric_is_refused() -> None:
    with pytest.raises(ExchangeError, match="METRICS-MISMATCH"):
        merge(CLASSIFICATION, [{"eval.patients": 3}])


@pytest.mark.parametrize("metrics", [segmented(0, 3), classified(0, 9), empty_metrics(CLASSIFICATION)])
def test_metrics_fit_into_a_message(metrics: Metrics) -> None:
    assert dict(MetricRecord(dict(metrics)).items()) == metrics
