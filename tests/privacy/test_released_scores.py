"""Release of scores: a round tells the headline, a test all, in known steps; what stays is hidden, and nothing else changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from medfl.messages.records import Metrics
from medfl.metrics import CaseScore, check, classification_metrics, derive, headline, merge, segmentation_metrics
from medfl.privacy.policy_checks import find_violations
from medfl.privacy.released_scores import release_scores
from medfl.privacy.score_rounding import round_score
from medfl.privacy.suppression import suppress
from medfl.site import Policy
from medfl.study import Study
from medfl.testing.sites import make_study

TRAINING: Metrics = {
    "train.patients": 200,
    "train.samples": 220,
    "train.steps": 40,
    "train.loss": 0.123456,
    "train.seconds": 1.2,
}
HEADLINE, ALL, EXACT, NONE = (Policy(scores=mode) for mode in ("headline", "all", "exact", "none"))
MASKS = make_study("segmentation")
CLASSES = make_study("classification")


def masks(patients: int = 30, seed: int = 0, loss: float = 0.654321) -> Metrics:
    draw = np.random.default_rng(seed)
    names = MASKS.task.foreground
    scores = [
        (f"pat-{k}", {n: CaseScore(*draw.random(3).tolist(), missed=k < 11, false_positive=False, present=True) for n in names})
        for k in range(patients)
    ]
    return segmentation_metrics(scores, names, loss)


def classes(patients: int = 60, seed: int = 0) -> Metrics:
    draw = np.random.default_rng(seed)
    width = len(CLASSES.task.classes)
    labels = [k % width for k in range(patients)]
    p = draw.dirichlet(np.ones(width), patients)
    return classification_metrics([f"pat-{k}" for k in range(patients)], labels, p, CLASSES.task.classes, 0.654321)


KINDS: Any = pytest.mark.parametrize(("study", "scores"), [(MASKS, masks()), (CLASSES, classes())], ids=["masks", "classes"])


@KINDS
def test_exact_scores_leave_as_they_are_but_for_small_counts(study: Study, scores: Metrics) -> None:
    released = release_scores(TRAINING | scores, study, EXACT, "validation")
    assert released == TRAINING | suppress(scores, EXACT.min_count)
    assert release_scores(scores, study, Policy(scores="exact", min_count=0), "test") == scores


@KINDS
def test_a_round_tells_the_headline_alone_and_a_test_everything(study: Study, scores: Metrics) -> None:
    validation, test = (release_scores(scores, study, HEADLINE, split) for split in ("validation", "test"))
    expected = pytest.approx(headline(study, suppress(scores, HEADLINE.min_count)), abs=0.002)
    assert headline(study, validation) == headline(study, test) == expected
    told = {key for key, value in derive(study, validation).items() if not math.isnan(value)}
    assert told <= {key for key in derive(study, scores) if key.split(".")[0] in ("dice", "auroc", "average-precision")}
    assert (validation["eval.loss"], validation["eval.loss-hidden"]) == (0.0, 1)
    assert test == release_scores(scores, study, ALL, "validation")
    assert test["eval.loss"] == pytest.approx(0.654321, abs=study.max_loss / 400)
    assert test.keys() == validation.keys() == scores.keys()
    for released in (validation, test):
        check(study, released)


def test_surfaces_that_were_measured_in_a_round_are_told_as_hidden_not_as_not_measured() -> None:
    released = release_scores(masks(), MASKS, HEADLINE, "validation")
    assert (released["eval.surface-hidden"], released["eval.surface-patients"]) == (1, 0)
    unmeasured = masks() | {"eval.surface-patients": 0}
    assert release_scores(unmeasured, MASKS, HEADLINE, "validation")["eval.surface-hidden"] == 0


@KINDS
def test_no_scores_at_all_leave_as_if_there_were_too_few_patients(study: Study, scores: Metrics) -> None:
    released = release_scores(TRAINING | scores, study, NONE, "test")
    assert released["eval.hidden"] == 1
    assert not any(np.any(value) for key, value in released.items() if key.startswith("eval.") and key != "eval.hidden")
    assert math.isnan(released["train.loss"])  # type: ignore[arg-type]
    assert [released[key] for key in ("train.patients", "train.steps")] == [200, 40]
    assert merge(study, [released, scores])["eval.patients"] == scores["eval.patients"]


def test_training_numbers_are_rounded_and_those_of_other_packages_to_three_digits() -> None:
    extra: Metrics = {"train.drift": 123456.7, "train.spread": [0.00012345, 2.0], "train.draws": 17}
    released = release_scores(TRAINING | extra, MASKS, HEADLINE, "validation")
    step = MASKS.max_loss / 1000
    assert released["train.loss"] == pytest.approx(round(0.123456 / step) * step, abs=0.0005)
    assert (released["train.seconds"], released["train.samples"]) == (2.0, 220)
    assert (released["train.drift"], released["train.spread"], released["train.draws"]) == (123000.0, [0.000123, 2.0], 17)


def test_a_model_moves_no_mean_by_less_than_a_step() -> None:
    """What an attacker plants in the last digits of a score does not arrive."""
    values = {release_scores(masks(loss=0.6 + k * 1e-5), MASKS, ALL, "validation")["eval.loss"] for k in range(100)}
    assert len(values) <= 2


@pytest.mark.parametrize(
    ("steps", "batch", "told"), [(1, 1, math.nan), (3, 3, math.nan), (5, 2, 0.12), (40, 8, 0.123), (0, 1, 0.123)]
)
def test_a_training_loss_leaves_in_the_steps_of_those_who_can_be_behind_it_and_not_of_few(
    steps: int, batch: int, told: float
) -> None:
    study = make_study("classification", training={"local_steps": steps, "batch_size": batch}, evaluation={"max_loss": 1.0})
    loss = release_scores(TRAINING, study, Policy(min_count=10), "validation")["train.loss"]
    assert loss == pytest.approx(told, abs=1e-9, nan_ok=True)


def test_a_strategy_that_needs_losses_is_refused_where_a_round_trains_on_few() -> None:
    few = make_study("classification", training={"local_steps": 3, "batch_size": 3}, strategy={"name": "fedcostwavg"})
    assert [code for code, _ in find_violations(few, Policy(min_count=10))] == ["POLICY-METRICS"]
    assert not list(find_violations(few, Policy(min_count=9)))


def test_a_loss_of_nobody_is_not_merged_with_losses_that_are_told() -> None:
    told, hidden = masks(30, loss=0.5), release_scores(masks(60, loss=0.9), MASKS, HEADLINE, "validation")
    merged = merge(MASKS, [told, hidden])
    assert (merged["eval.loss"], merged["eval.loss-hidden"]) == (0.5, 1)
    earlier = {key: value for key, value in told.items() if key not in ("eval.loss-hidden", "eval.surface-hidden")}
    assert merge(MASKS, [earlier]) == merge(MASKS, [told])  # a run of before still has its report


@pytest.mark.parametrize("policy", [HEADLINE, ALL], ids=["headline", "all"])
def test_sums_of_calibration_leave_in_steps_too(policy: Policy) -> None:
    released = release_scores(classes(300), CLASSES, policy, "test")
    counts, sums = released["eval.calibration-count"], released["eval.calibration-confidence"]
    assert isinstance(counts, list)
    assert isinstance(sums, list)
    filled = [(total, int(n)) for total, n in zip(sums, counts, strict=True) if n]
    assert filled
    assert all(total == round_score(total, n, n) for total, n in filled)
