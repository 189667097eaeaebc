"""Bounds of AUROC and average precision: the value of the single scores always lies within, whatever a site's policy merged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from medfl.messages.records import Metrics
from medfl.metrics import classification_metrics, derive, merge, score_errors
from medfl.privacy.suppression import suppress
from medfl.study import Study
from medfl.testing.sites import make_study

STUDY = make_study("classification")
SCORES = {"auroc": roc_auc_score, "average-precision": average_precision_score}


def draw(rng: np.random.Generator, patients: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw labels of two classes and scores: of an uncertain, a confident or a saturated model, with and without ties."""
    labels = np.concatenate([[0, 1], (rng.random(patients - 2) < rng.uniform(0.1, 0.9)).astype(np.int64)])
    logits = rng.normal(rng.choice([-4, 0, 3]), rng.choice([0.02, 0.3, 2, 12]), patients) + rng.choice([0, 1, 3]) * labels
    scores = 1 / (1 + np.exp(-logits))
    return labels, np.round(scores, 2) if rng.random() < 0.3 else scores


def evaluate(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Metrics:
    patients = [f"p{k}" for k in range(len(labels))]
    return classification_metrics(patients, labels, np.stack([1 - scores, scores], axis=1), STUDY.task.classes, 0.5)


@pytest.mark.parametrize("k", [0, 5, 10])
@pytest.mark.parametrize("seed", range(4))
def test_the_true_value_lies_within_the_bound(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(25):
        sites = [draw(rng, int(rng.integers(2, 60))) for _ in range(rng.integers(1, 4))]
        parts = [suppress(evaluate(*site), k) for site in sites]
        shown = [site for site, part in zip(sites, parts, strict=True) if any(part["eval.positives.yes"])]  # type: ignore[arg-type]
        if not shown:
            continue
        labels, scores = (np.concatenate(column) for column in zip(*shown, strict=True))
        derived, errors = derive(STUDY, merge(STUDY, parts)), score_errors(STUDY, parts)
        for name, true_score in SCORES.items():
            assert abs(derived[name] - true_score(labels, scores)) <= errors[name] + 1e-12, name


def test_the_bound_is_reached_by_the_best_and_the_worst_order_of_ties() -> None:
    labels, tied = np.array([0, 0, 1, 1]), np.full(4, 0.5)
    errors = score_errors(STUDY, [evaluate(labels, tied)])
    assert errors["auroc"] == 0.5
    # all orders of two and two: from 1 (both found first) down to (1/3 + 2/4) / 2
    value = derive(STUDY, evaluate(labels, tied))["average-precision"]
    assert errors["average-precision"] == pytest.approx(max(1 - value, value - (1 / 3 + 2 / 4) / 2))


def test_scores_in_bins_of_their_own_have_no_error() -> None:
    errors = score_errors(STUDY, [evaluate(np.array([0, 1, 0, 1]), np.array([0.1, 0.3, 0.6, 0.9]))])
    assert errors["auroc"] == pytest.approx(0, abs=1e-12)
    assert errors["average-precision"] == pytest.approx(0, abs=1e-12)


def test_bins_of_a_saturated_model_are_exact_unless_a_policy_may_have_merged_them() -> None:
    labels = np.repeat([0, 1], 10)
    metrics = evaluate(labels, labels * 0.99999 + 1e-7)
    assert score_errors(STUDY, [metrics | {"eval.loss": 0.012345678}])["auroc"] == 0.0
    assert score_errors(STUDY, [suppress(metrics, 5)])["auroc"] == 1.0


def test_of_more_than_two_classes_each_has_a_bound_and_the_mean_lies_within_its_own() -> None:
    study = Study.model_validate(
        STUDY.model_dump(by_alias=True) | {"task": STUDY.task.model_dump(by_alias=True) | {"classes": "a,b,c"}}
    )
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.arange(24) % 3)
    shares = rng.dirichlet([40, 40, 40], 24)
    metrics = classification_metrics([f"p{k}" for k in range(24)], labels, shares, ["a", "b", "c"], 0.5)
    derived, errors = derive(study, metrics), score_errors(study, [metrics])
    assert abs(derived["auroc"] - roc_auc_score(labels, shares, multi_class="ovr")) <= errors["auroc"]
    for k, name in enumerate("abc"):
        assert abs(derived[f"auroc.{name}"] - roc_auc_score(labels == k, shares[:, k])) <= errors[f"auroc.{name}"]


def test_where_there_is_no_score_there_is_no_bound() -> None:
    errors = score_errors(STUDY, [evaluate(np.array([1, 1]), np.array([0.2, 0.3]))])
    assert all(math.isnan(error) for error in errors.values())
    assert all(math.isnan(error) for error in score_errors(STUDY, []).values())
    assert score_errors(make_study(), []) == {}
