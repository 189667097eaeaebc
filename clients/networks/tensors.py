"""Named tensors of a network in training, and arrays as such tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medfl.messages.models import Tensors


def trainable(net: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training changes, under the names under which they are exchanged."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def to_parameters(net: nn.Module, arrays: Tensors) -> dict[str, Tensor]:
    """Return arrays as tensors with dtype and device of the parameters of the same names; other names are left out."""
    return {
        name: torch.tensor(arrays[name], dtype=parameter.dtype, device=parameter.device)
        for name, parameter in trainable(net).items()
        if name in arrays
    }
