"""A model whose predictions are known by heart: class 1 is wherever the normalised image is above 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from medfl.data.predictions import ModelOrigin
from medfl.models.trained_model import TrainedModel
from medfl.study import Study

ORIGIN = ModelOrigin("threshold", "round 1", "ab" * 32)


class Threshold(nn.Module):
    """Logits of two classes; of a whole image, by the mean of its left half, when it is to be classified."""

    def __init__(self, classify: bool, before: Callable[[Tensor], object]) -> None:
        super().__init__()
        self._classify, self._before = classify, before

    def forward(self, images: Tensor) -> Tensor:
        self._before(images)
        if self._classify:
            mean = images[:, 0, : images.shape[2] // 2].flatten(1).mean(1, keepdim=True)
            return torch.cat([-mean, mean], 1)
        return torch.cat([-images, images], 1)


@dataclass(frozen=True)
class ThresholdModel(TrainedModel):
    """The model, with a function that is called with the images before each forward pass."""

    before: Callable[[Tensor], object] = field(default=lambda images: None)

    def build(self) -> nn.Module:
        """Build the network, which has no weights."""
        return Threshold(self.study.task.kind == "classification", self.before)


def threshold_model(study: Study, before: Callable[[Tensor], object] = lambda images: None) -> ThresholdModel:
    """Make the model of a study with one channel and two classes."""
    return ThresholdModel(study, {}, ORIGIN, before)
