"""Largest loss of a patient: every loss gives it where the truth has hardly a chance, and guessing costs less than half."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfl.clients.training.losses import build_evaluation_loss
from medfl.study.loss_limit import default_max_loss
from medfl.testing.sites import make_study

LOSSES = ("dice-ce", "dice-focal", "generalized-dice", "cross-entropy", "focal")


def loss_of(study: Any, probability: float) -> float:
    """Return the loss of an image of the last class alone, to whose pixels a model gives this probability each."""
    masks = study.task.kind == "segmentation"
    logits = torch.tensor([np.log(1 - probability), np.log(probability)], dtype=torch.float32)
    shape = (1, 2, 8, 8) if masks else (1, 2)
    images = logits.reshape(1, 2, *[1] * (len(shape) - 2)).expand(shape)
    truth = torch.ones(shape[:1] + shape[2:], dtype=torch.uint8)
    return float(build_evaluation_loss(study, torch.device("cpu"))(images, truth))


@pytest.mark.parametrize("weights", ["", "1,4"])
@pytest.mark.parametrize("name", LOSSES)
def test_an_unlikely_truth_costs_the_limit_and_a_guess_less(name: str, weights: str) -> None:
    if weights and name == "generalized-dice":
        pytest.skip("it has no weights")
    kind = "segmentation" if "dice" in name else "classification"
    study = make_study(kind, loss={"name": name, "class_weights": weights})
    limit = default_max_loss(study.loss, study.task.classes)
    assert loss_of(study, 2.0**-4) == pytest.approx(limit, rel=0.2)
    assert loss_of(study, 0.5) < 0.6 * limit
    assert study.max_loss == limit


def test_a_study_may_state_its_limits() -> None:
    study = make_study(evaluation={"max_loss": 2.0, "max_distance": 40.0})
    assert (study.max_loss, study.max_distance) == (2.0, 40.0)
    assert make_study().max_distance == 100.0


def test_balanced_weights_do_not_count_as_an_evaluation_has_none() -> None:
    plain, balanced = (make_study(loss={"name": "dice-ce", "class_weights": w}) for w in ("", "balanced"))
    assert plain.max_loss == balanced.max_loss
