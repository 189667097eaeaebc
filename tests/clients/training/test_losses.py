from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss

from medfl.clients.training.losses import build_loss, class_weights
from medfl.data.cases import Case
from medfl.data.store.prepared_data import PreparedCase

SEGMENTATION = ["dice-ce", "dice-focal", "generalized-dice"]


def mask_case(*values: int) -> PreparedCase:
    label = np.array([values], dtype=np.uint8)
    return PreparedCase(Case.without_files("case", "pat", "train"), np.zeros((1, *label.shape), np.float32), label, (1.0, 1.0))


@pytest.mark.parametrize("name", SEGMENTATION)
def test_right_masks_cost_nearly_nothing_and_wrong_ones_much(make_study, name: str) -> None:
    loss = build_loss(make_study(loss={"name": name}))
    labels = torch.zeros(2, 8, 8, dtype=torch.uint8)
    labels[:, 2:5, 2:5] = 1
    right = torch.stack([1.0 - labels.float(), labels.float()], 1) * 40 - 20
    assert float(loss(right, labels)) == pytest.approx(0.0, abs=1e-3)
    assert float(loss(-right, labels)) > 0.9


@pytest.mark.parametrize("name", SEGMENTATION)
def test_batch_without_foreground_has_a_finite_loss_and_gradient(make_study, name: str) -> None:
    logits = torch.zeros(2, 2, 8, 8, requires_grad=True)
    loss = build_loss(make_study(loss={"name": name}))(logits, torch.zeros(2, 8, 8, dtype=torch.uint8))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert torch.isfinite(logits.grad).all()


def test_dice_ce_is_monais(make_study) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 2, 6, 6), torch.randint(0, 2, (2, 6, 6))
    expected = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)(logits, labels.unsqueeze(1))
    assert float(build_loss(make_study())(logits, labels.to(torch.uint8))) == pytest.approx(float(expected))


def test_focal_part_of_dice_focal_sees_false_alarms_in_the_background(make_study) -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    alarm = torch.zeros(1, 2, 4, 4)
    alarm[:, 1] = 4.0
    quiet = -alarm
    loss = build_loss(make_study(loss={"name": "dice-focal"}))
    assert float(loss(alarm, labels)) - float(loss(quiet, labels)) > 0.5


def test_focal_loss_without_gamma_is_half_the_cross_entropy_of_two_classes(make_study) -> None:
    logits, labels = torch.tensor([[0.2, -0.4], [1.0, 0.5]]), torch.tensor([0, 1])
    focal = build_loss(make_study("classification", loss={"name": "focal", "gamma": 0.0}))(logits, labels)
    entropy = build_loss(make_study("classification"))(logits, labels)
    assert float(focal) == pytest.approx(float(entropy) / 2)


def test_balanced_weights_are_inverse_frequencies_with_mean_one(make_study) -> None:
    study = make_study(loss={"name": "dice-ce", "class-weights": "balanced"})
    weights = class_weights(study, [mask_case(0, 0, 0, 1)])  # 3 of one, 1 of the other: 1/3 and 1, over their mean 2/3
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.5, 1.5])


def test_balanced_weight_of_a_class_that_is_not_here_is_one(make_study) -> None:
    study = make_study(loss={"name": "dice-ce", "class-weights": "balanced"})
    weights = class_weights(study, [mask_case(0, 0)])
    assert weights is not None
    assert weights.tolist() == [1.0, 1.0]


def test_given_weights_are_taken_as_they_are(make_study) -> None:
    weights = class_weights(make_study(loss={"name": "dice-ce", "class-weights": "1,2.5"}), [])
    assert weights is not None
    assert weights.tolist() == [1.0, 2.5]
    assert class_weights(make_study(), []) is None


def test_label_smoothing_makes_a_sure_answer_cost(make_study) -> None:
    logits, labels = torch.tensor([[20.0, -20.0]]), torch.tensor([0])
    plain = build_loss(make_study("classification"))(logits, labels)
    smooth = build_loss(make_study("classification", loss={"name": "cross-entropy", "label-smoothing": 0.1}))(logits, labels)
    assert float(plain) == pytest.approx(0.0, abs=1e-6)
    assert float(smooth) == pytest.approx(0.05 * 40, rel=1e-4)
