from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from medfl.errors import TrainingError
from medfl.messages.records import Metrics
from medfl.metrics import classification_metrics, confusion_matrix, derive, roc_curve_points
from medfl.study import Study


def study(classes: str = "benign,malignant") -> Study:
    values: dict[str, Any] = {
        "name": "nodules",
        "rounds": 1,
        "task": {"kind": "classification", "dimension": 2, "modality": "US", "classes": classes},
        "preprocessing": {"size": "32,32"},
        "network": {"name": "cnn"},
        "loss": {"name": "cross-entropy"},
    }
    return Study.model_validate(values)


def metrics_of(labels: Any, probabilities: NDArray[Any], classes: tuple[str, ...] = ("benign", "malignant")) -> Metrics:
    return classification_metrics([f"pat-{i}" for i in range(len(labels))], labels, probabilities, classes, 0.5)


def two(p: NDArray[Any]) -> NDArray[Any]:
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize(
    ("centre", "spread", "rate"), [(0, 0.2, 0.5), (-1, 0.7, 0.3), (-4, 2, 0.03), (0, 10, 0.3), (-40, 12, 0.2), (9, 6, 0.4)]
)
def test_auroc_of_the_histograms_is_that_of_the_scores(centre: float, spread: float, rate: float) -> None:
    rng = np.random.default_rng(7)
    y = rng.random(3000) < rate
    logits = centre + spread * (rng.normal(size=3000) + 1.3 * y)
    p = (1 / (1 + np.exp(-logits))).astype(np.float32)
    derived = derive(study(), metrics_of(y.astype(int), two(p)))
    assert derived["auroc"] == pytest.approx(roc_auc_score(y, p), abs=0.002)
    assert derived["auroc"] == derived["auroc.malignant"]
    assert derived["average-precision"] == pytest.approx(average_precision_score(y, p), abs=0.01)


def test_three_classes_agree_with_sklearn() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 900)
    logits = rng.normal(size=(900, 3)) + 1.5 * np.eye(3)[y]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    derived = derive(study("a,b,c"), metrics_of(y, p, ("a", "b", "c")))
    predicted = p.argmax(axis=1)
    assert derived["auroc"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"), abs=0.002)
    assert derived["average-precision"] == pytest.approx(average_precision_score(np.eye(3)[y], p), abs=0.01)
    assert derived["balanced-accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert derived["accuracy"] == pytest.approx(np.mean(y == predicted))
    assert derived["specificity.b"] == pytest.approx(np.mean(predicted[y != 1] != 1))


def test_perfect_saturated_scores() -> None:
    metrics = metrics_of([0, 0, 1, 1], two(np.array([0.0, 0.0, 1.0, 1.0])))
    derived = derive(study(), metrics)
    assert (derived["auroc"], derived["average-precision"], derived["calibration-error"]) == (1.0, 1.0, 0.0)
    assert roc_curve_points(metrics, "malignant") == ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
    assert confusion_matrix(metrics) == [[2, 0], [0, 2]]


def test_scores_that_are_all_the_same_tell_nothing() -> None:
    assert derive(study(), metrics_of([0, 0, 1], two(np.full(3, 0.3))))["auroc"] == 0.5


def test_hand_counted_decisions() -> None:
    metrics = metrics_of([0, 0, 0, 1], two(np.array([0.1, 0.2, 0.9, 0.9])))
    derived = derive(study(), metrics)
    assert confusion_matrix(metrics) == [[2, 1], [0, 1]]
    assert derived["sensitivity.malignant"] == 1.0
    assert derived["specificity.malignant"] == pytest.approx(2 / 3)
    assert derived["sensitivity.benign"] == pytest.approx(2 / 3)
    assert derived["balanced-accuracy"] == pytest.approx(5 / 6)
    # bin of 0.9: three scores, two right; bin of 0.8: one, right
    assert derived["calibration-error"] == pytest.approx((abs(2.7 - 2) + abs(0.8 - 1)) / 4)


def test_images_of_one_patient_with_one_label_are_averaged() -> None:
    p = two(np.array([0.2, 0.9, 0.1, 0.6]))
    metrics = classification_metrics(["a", "a", "a", "b"], [1, 1, 0, 1], p, ["benign", "malignant"], 0.5)
    assert (metrics["eval.patients"], metrics["eval.samples"]) == (2, 4)
    assert confusion_matrix(metrics) == [[1, 0], [0, 2]]  # (0.2 + 0.9) / 2 is above one half


def test_one_class_only_has_no_auroc() -> None:
    metrics = metrics_of([1, 1], two(np.array([0.2, 0.9])))
    derived = derive(study(), metrics)
    assert math.isnan(derived["auroc"])
    assert math.isnan(derived["specificity.malignant"])
    assert derived["sensitivity.malignant"] == 0.5
    assert roc_curve_points(metrics, "malignant") == ([], [])


def test_an_absent_class_does_not_hide_the_others() -> None:
    p = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    derived = derive(study("a,b,c"), metrics_of([0, 1], p, ("a", "b", "c")))
    assert derived["auroc"] == 1.0
    assert math.isnan(derived["auroc.c"])


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(TrainingError, match="EVAL-NOT-FINITE"):
        metrics_of([0], np.array([[np.nan, 1.0]]))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        metrics_of([0, 1], two(np.array([0.5])))


def test_a_label_must_be_a_class() -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        metrics_of([2], two(np.array([0.5])))
