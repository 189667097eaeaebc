"""Class probabilities of prepared cases, by one model or the mean of several, and of mirrored images if asked for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfl.clients.tasks.inference import crop_padding, group_cases, predict, read_images
from medfl.clients.training.devices import Device
from medfl.data.store.prepared_data import PreparedCase
from medfl.errors import RunError
from medfl.models.trained_model import TrainedModel
from medfl.study import Study
from medfl.system.text import join_words

_PLANES = 16  # planes whose logits become probabilities together: more would be a second copy of them


class CasePredictor:
    """Models that predict cases together: the mean of their probabilities.

    Parameters
    ----------
    models : sequence of TrainedModel
        At least one; all of one task, with one way to prepare images.
    device : Device
        Device and precision.
    flips : bool
        Whether to average over mirrored images as well, along the axes along which training mirrored them.

    Raises
    ------
    RunError
        ``PRED-MODELS`` when the models do not belong together, ``PRED-FLIPS`` when training mirrored nothing.
    ExchangeError
        ``MODEL-MISMATCH`` or ``MODEL-NONFINITE`` when weights do not fit their network.
    """

    def __init__(self, models: Sequence[TrainedModel], device: Device, *, flips: bool = False) -> None:
        _require_one_task([model.study for model in models])
        self.study = models[0].study
        self._device = device
        self._members = [(model.study, model.build().to(device.torch_device)) for model in models]
        self._flips = _list_flips([model.study for model in models]) if flips else [()]

    def predict(self, cases: Sequence[PreparedCase]) -> list[Tensor]:
        """Return the class probabilities of cases of one padded shape (`medfl.clients.tasks.inference.group_cases`).

        Parameters
        ----------
        cases : sequence of PreparedCase
            With or without labels.

        Returns
        -------
        list of Tensor
            Of each case float32 (classes, X, Y[, Z]) on its prepared grid, or (classes,) in a classification; of one image
            a model may give what is no number.

        Raises
        ------
        TrainingError
            ``NET-TOO-DEEP`` when images of this shape are too small for a network.
        """
        totals: list[Tensor] = []
        with torch.inference_mode():
            for study, net in self._members:
                for axes in self._flips:
                    groups = group_cases(study, cases)  # another model may pad them to other shapes
                    parts = [part for group in groups for part in self._predict_once(study, net, group, axes)]
                    totals = parts if not totals else [total.add_(part) for total, part in zip(totals, parts, strict=True)]
            count = len(self._members) * len(self._flips)
            return [total.div_(count) for total in totals] if count > 1 else totals

    def _predict_once(self, study: Study, net: nn.Module, cases: Sequence[PreparedCase], axes: Sequence[int]) -> list[Tensor]:
        shapes = [case.image.shape[1:] for case in cases]
        return predict_probabilities(study, net, read_images(study, cases), shapes, self._device, axes)


def predict_probabilities(
    study: Study, net: nn.Module, images: Tensor, shapes: Sequence[Sequence[int]], device: Device, flips: Sequence[int] = ()
) -> list[Tensor]:
    """Return the class probabilities of prepared images.

    Parameters
    ----------
    study : Study
        Study of the network.
    net : torch.nn.Module
        The network, in evaluation mode, on `device`.
    images : Tensor
        Padded images (B, C, X, Y[, Z]), as `medfl.clients.tasks.inference.read_images` returns them.
    shapes : sequence of sequence of int
        Size of each image without its padding.
    device : Device
        Device and precision.
    flips : sequence of int
        Axes along which the images are mirrored for the network; what it says is mirrored back.

    Returns
    -------
    list of Tensor
        Of each image float32 (classes, X, Y[, Z]) without its padding, or (classes,) in a classification.
    """
    sides = [axis + 2 for axis in flips]  # behind batch and channels
    masks = study.task.kind == "segmentation"
    overlap = study.evaluation.test_overlap if masks else 0.0
    logits = predict(study, net, device, images.flip(sides) if sides else images, overlap)
    _to_probabilities(logits)
    if not masks:
        return list(logits)
    logits = logits.flip(sides) if sides else logits
    return [crop_padding(found, shape) for found, shape in zip(logits, shapes, strict=True)]


def _to_probabilities(logits: Tensor) -> None:
    """Turn logits (B, classes, ...) into probabilities, in place."""
    if logits.dim() == 2:
        logits.copy_(torch.softmax(logits, 1))
        return
    for first in range(0, logits.shape[2], _PLANES):
        planes = logits[:, :, first : first + _PLANES]
        planes.copy_(torch.softmax(planes, 1))


def _list_flips(studies: Sequence[Study]) -> list[tuple[int, ...]]:
    """Return the sets of axes to mirror, none first."""
    axes = set.intersection(*(set(study.augmentation.flip) for study in studies))
    if not axes:
        what = "training did not mirror its images along any axis, so the model does not know mirrored ones."
        raise RunError("PRED-FLIPS", what, "Leave '--flips' out; a study mirrors with augmentation.flip.")
    return [chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(sorted(axes), count)]


def _require_one_task(studies: Sequence[Study]) -> None:
    first = studies[0]
    differing = {
        "classes": any(study.task.classes != first.task.classes for study in studies),
        "task": any(study.task != first.task for study in studies),
        "preprocessing": any(study.preprocessing != first.preprocessing for study in studies),
    }
    found = [name for name, differs in differing.items() if differs]
    if found:
        what = f"the models do not predict together: their studies differ in {join_words(found)}."
        raise RunError(
            "PRED-MODELS", what, "Average models of one task that prepare images in one way, such as rounds or seeds."
        )
