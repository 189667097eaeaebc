"""The optimizers that a study may name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from medfl.study.sections import Optimizer

_FUSED = ("cpu", "cuda")  # device types whose optimizers update all tensors in one call


def build_optimizer(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Build a fresh optimizer, with no memory of earlier rounds.

    Parameters
    ----------
    settings : Optimizer
        The table ``optimizer`` of the study.
    parameters : iterable of Parameter
        The parameters to update, on the device of training.

    Returns
    -------
    torch.optim.Optimizer
        Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), or SGD with Nesterov's momentum.
    """
    tuned = [p for p in parameters if p.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    fused = all(p.device.type in _FUSED for p in tuned)
    if settings.name == "sgd":
        nesterov = settings.momentum > 0
        return torch.optim.SGD(tuned, rate, settings.momentum, weight_decay=decay, nesterov=nesterov, fused=fused)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(tuned, rate, weight_decay=decay, fused=fused)


def set_factor(optimizer: torch.optim.Optimizer, settings: Optimizer, factor: float) -> None:
    """Set the learning rate to a multiple of the study's."""
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
