"""The losses that a study may name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss, GeneralizedDiceLoss
from torch import Tensor, nn

from medfl.clients.training.partial_labels import MarginalLoss
from medfl.data.store.prepared_data import PreparedCase
from medfl.study import Study

LossFunction = Callable[[Tensor, Tensor], Tensor]

_SMOOTH = 1e-5
_SMOOTH_GENERALIZED = 1e-12  # its class weights are one over squared volumes: 1e-5 would drown an organ of 1e6 voxels


def build_loss(study: Study, weights: Tensor | None = None) -> MarginalLoss:
    """Build the loss of a study.

    Dice terms leave the background out and are taken over the batch as a whole, as nnU-Net does, so that a patch without
    foreground does no harm. Images with partial annotations count by their annotated classes alone (`MarginalLoss`).

    Parameters
    ----------
    study : Study
        Names the loss.
    weights : Tensor, optional
        One weight for each class, on the device of the logits.

    Returns
    -------
    MarginalLoss
        Called with logits (B, classes, ...) float32, labels (B, ...) of any integer dtype, and the annotated classes of each
        image; returns a scalar tensor.
    """

    def build(classes: list[int]) -> LossFunction:
        return _BUILDERS[study.loss.name](study, weights[classes] if weights is not None else None)

    return MarginalLoss(build, len(study.task.classes))


def build_training_loss(study: Study, cases: Sequence[PreparedCase], device: torch.device) -> MarginalLoss:
    """Build the loss of a study with the class weights of a site's training cases, for logits on a device."""
    return build_loss(study, _to_device(class_weights(study, cases), device))


def build_evaluation_loss(study: Study, device: torch.device) -> MarginalLoss:
    """Build the loss with which models are scored, for logits on a device.

    It has no balanced weights: they differ from site to site, and losses of sites are to be compared.
    """
    weights = None if study.loss.class_weights == ("balanced",) else class_weights(study, ())
    return build_loss(study, _to_device(weights, device))


def class_weights(study: Study, cases: Sequence[PreparedCase]) -> Tensor | None:
    """Return the class weights that a study asks for at a site.

    Parameters
    ----------
    study : Study
        ``loss.class-weights`` gives one number per class, or ``balanced``: the inverse frequency of the class among the labels
        of these cases (voxels in segmentation, images in classification), scaled to a mean of 1 over the classes that occur.
        A class that does not occur at the site gets weight 1.
    cases : sequence of PreparedCase
        The training cases of the site.

    Returns
    -------
    Tensor or None
        float32 (classes,), or None when the study asks for no weights.
    """
    given = study.loss.class_weights
    if given != ("balanced",):
        return torch.tensor([float(w) for w in given]) if given else None
    counts = np.zeros(len(study.task.classes))
    for case in cases:
        label = case.require_label()
        flat = np.array([label]) if isinstance(label, int) else np.ravel(label)
        counts += np.bincount(flat, minlength=len(counts))
    present = counts > 0
    weights = np.ones(len(counts))
    weights[present] = 1.0 / counts[present]
    weights[present] /= weights[present].mean()
    return torch.tensor(weights, dtype=torch.float32)


def _to_device(weights: Tensor | None, device: torch.device) -> Tensor | None:
    return None if weights is None else weights.to(device)


def _dice_ce(study: Study, weights: Tensor | None) -> LossFunction:
    return _with_channel(
        DiceCELoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=True,
            smooth_nr=_SMOOTH,
            smooth_dr=_SMOOTH,
            weight=weights,
            label_smoothing=study.loss.label_smoothing,
        )
    )


def _dice_focal(study: Study, weights: Tensor | None) -> LossFunction:
    # not MONAI's DiceFocalLoss: without the background it takes the softmax over the foreground channels alone, so that its
    # focal term is constant for one foreground class
    foreground = weights[1:] if weights is not None else None
    dice = DiceLoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        smooth_nr=_SMOOTH,
        smooth_dr=_SMOOTH,
        weight=foreground,
    )
    focal = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=study.loss.gamma, weight=weights)

    def both(logits: Tensor, labels: Tensor) -> Tensor:
        target = labels.unsqueeze(1)
        total: Tensor = dice(logits, target) + focal(logits, target)
        return total

    return both


def _generalized_dice(study: Study, weights: Tensor | None) -> LossFunction:
    return _with_channel(
        GeneralizedDiceLoss(
            to_onehot_y=True, softmax=True, batch=True, smooth_nr=_SMOOTH_GENERALIZED, smooth_dr=_SMOOTH_GENERALIZED
        )
    )


def _cross_entropy(study: Study, weights: Tensor | None) -> LossFunction:
    loss = nn.CrossEntropyLoss(weight=weights, label_smoothing=study.loss.label_smoothing)

    def of_labels(logits: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = loss(logits, labels.long())
        return value

    return of_labels


def _focal(study: Study, weights: Tensor | None) -> LossFunction:
    return _with_channel(FocalLoss(to_onehot_y=True, use_softmax=True, gamma=study.loss.gamma, weight=weights))


def _with_channel(loss: nn.Module) -> LossFunction:
    """Give the labels the channel axis that MONAI's losses expect."""

    def of_labels(logits: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = loss(logits, labels.unsqueeze(1))
        return value

    return of_labels


_BUILDERS: dict[str, Callable[[Study, Tensor | None], LossFunction]] = {
    "dice-ce": _dice_ce,
    "dice-focal": _dice_focal,
    "generalized-dice": _generalized_dice,
    "cross-entropy": _cross_entropy,
    "focal": _focal,
}
