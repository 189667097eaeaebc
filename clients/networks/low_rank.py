"""Low-rank updates (LoRA) of linear and convolution layers: the weight stays, and what is learned is a product of two factors.

Hu et al. 2022, https://arxiv.org/abs/2106.09685. The weight W of a layer, as a matrix with one row for each entry of its first
axis, becomes ``W + alpha / rank * B A``. B begins at 0, so that the network begins as it was. The layer keeps its class, its
name and its tensors, and gets two more, ``lora_A`` (rank, columns) and ``lora_B`` (rows, rank).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfl.runs.low_rank_arrays import FACTOR_A, FACTOR_B
from medfl.study.sections import Training


class _LowRank(nn.Module):
    """A layer whose weight is the sum of its own and a low-rank update."""

    weight: Tensor
    lora_A: nn.Parameter
    lora_B: nn.Parameter
    lora_scale: float

    def full_weight(self) -> Tensor:
        """Return the weight that the layer computes with, in its own precision even where the layer runs in a lower one."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.weight + self.lora_scale * (self.lora_B @ self.lora_A).view_as(self.weight)


class _Linear(_LowRank, nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # as torch names it
        return F.linear(input, self.full_weight(), self.bias)


class _Conv(_LowRank):
    def forward(self, input: Tensor) -> Tensor:
        layer: Any = self
        convolved: Tensor = layer._conv_forward(input, self.full_weight(), layer.bias)
        return convolved


class _Conv1d(_Conv, nn.Conv1d): ...


class _Conv2d(_Conv, nn.Conv2d): ...


class _Conv3d(_Conv, nn.Conv3d): ...


class _ConvTranspose(_LowRank):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        layer: Any = self
        axes = len(layer.kernel_size)
        more = layer._output_padding(input, output_size, layer.stride, layer.padding, layer.kernel_size, axes, layer.dilation)
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
        return convolve(input, self.full_weight(), layer.bias, layer.stride, layer.padding, more, layer.groups, layer.dilation)


class _ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d): ...


class _ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d): ...


class _ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d): ...


_CLASSES: dict[type[nn.Module], type[_LowRank]] = {
    nn.Linear: _Linear,
    nn.Conv1d: _Conv1d,
    nn.Conv2d: _Conv2d,
    nn.Conv3d: _Conv3d,
    nn.ConvTranspose1d: _ConvTranspose1d,
    nn.ConvTranspose2d: _ConvTranspose2d,
    nn.ConvTranspose3d: _ConvTranspose3d,
}


def add_low_rank(net: nn.Module, training: Training, seed: int, skip: Iterable[nn.Parameter] = ()) -> list[nn.Parameter]:
    """Give every linear and convolution layer of a network a low-rank update.

    Parameters
    ----------
    net : torch.nn.Module
        Changed in place; its outputs stay the same. On the device "meta" no values are drawn.
    training : Training
        Gives rank and alpha, and whether A is trained.
    seed : int
        Decides A, of each layer by its name, whatever other layers there are: uniform as torch draws a linear layer.
    skip : iterable of Parameter
        Weights whose layers get none.

    Returns
    -------
    list of Parameter
        The factors that are trained: B, and with ``lora-average = "both"`` A as well.
    """
    skipped, trained = {id(parameter) for parameter in skip}, list[nn.Parameter]()
    for name, layer in net.named_modules():
        kind = _CLASSES.get(type(layer))
        if kind is None or id(layer.weight) in skipped:
            continue
        a, b = _draw_factors(layer.weight, training.lora_rank, f"{seed}\x1f{name}")
        layer.__class__ = kind
        layer.lora_scale = training.lora_alpha / a.shape[0]  # its own rank, which a small layer cuts
        layer.register_parameter(FACTOR_A, a)
        layer.register_parameter(FACTOR_B, b)
        trained += [a, b] if training.lora_average == "both" else [b]
    return trained


def _draw_factors(weight: Any, rank: int, seed: str) -> tuple[nn.Parameter, nn.Parameter]:
    rows, columns = weight.shape[0], math.prod(weight.shape[1:])
    rank = min(rank, rows, columns)
    b = torch.zeros(rows, rank, dtype=weight.dtype, device=weight.device)
    a = torch.empty(rank, columns, dtype=weight.dtype, device=weight.device)
    if not a.is_meta:
        draw = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7], "big"))
        a.uniform_(-1 / math.sqrt(columns), 1 / math.sqrt(columns), generator=draw)
    return nn.Parameter(a), nn.Parameter(b)
