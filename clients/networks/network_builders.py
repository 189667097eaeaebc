"""Builders of the networks that a study may name, with the same initial weights on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from monai.networks import nets
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn
from torch.overrides import TorchFunctionMode

from medfl.errors import ConfigError, Problem
from medfl.study import Study
from medfl.study import network_options as tables
from medfl.study.network_definitions import DEFINED_NETWORKS, define_network

_AFFINE_NORM = ("instance", {"affine": True})
_GROUPS = (8, 4, 2, 1)
_Network = Any  # a torch.nn.Module, but MONAI has no types
_INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def build_network(study: Study) -> nn.Module:
    """Build the network of a study; its initial weights depend on ``study.seed`` alone.

    Parameters
    ----------
    study : Study
        Names the network, the task's channels, classes and dimension, and the size of patches or images.

    Returns
    -------
    torch.nn.Module
        Maps images (B, C, X, Y[, Z]) to logits: (B, classes, X, Y[, Z]) for segmentation, (B, classes) for classification.

    Raises
    ------
    ConfigError
        When the study's arguments are not valid for the network, for example a transformer without an image size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(study.seed)
        try:
            net = _build(study)
        except ValueError as error:
            raise ConfigError([Problem("pyproject.toml", "network", f"MONAI refuses these arguments: {error}.")]) from None
        return replace_norm(net, study.network.norm)


def build_network_without_memory(study: Study) -> nn.Module:
    """Build the network with the shapes of its tensors alone, on the device "meta": a study may name one that fits nowhere.

    Raises
    ------
    ConfigError
        As `build_network`.
    """
    with torch.device("meta"), _StepsInMemory():
        return build_network(study)


class _StepsInMemory(TorchFunctionMode):
    """Keeps `torch.linspace` on the CPU: MONAI's SwinUNETR computes with its values while it is built."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # named by torch
        return func(*args, **({"device": "cpu"} if func is torch.linspace else {}), **(kwargs or {}))


def replace_norm(net: nn.Module, norm: tables.Norm) -> nn.Module:
    """Replace every instance and batch normalisation of a network by one kind; layer norms stay.

    Parameters
    ----------
    net : torch.nn.Module
        Changed in place. A layer with two names stays one layer.
    norm : {"instance", "group", "batch", "batch-frozen"}
        Instance norm is affine. Group norm has the largest number of groups among 8, 4, 2, 1 that divides the channels. Frozen
        batch norm keeps its statistics and its affine parameters, whatever the mode of the network.

    Returns
    -------
    torch.nn.Module
        The same network.
    """
    replaced: dict[int, nn.Module] = {}  # by id of the old layer; `modules` keeps those alive, so that no id comes twice
    modules = list(net.modules())
    for parent in modules:
        for name, layer in list(parent.named_children()):
            fresh = replaced.get(id(layer)) or _norm_layer(norm, layer)
            if fresh is not None:
                replaced[id(layer)] = fresh
                setattr(parent, name, fresh)
    return net


def network_names() -> tuple[str, ...]:
    """Return the names of all networks that can be built."""
    return (*DEFINED_NETWORKS, "cnn")


def _build(study: Study) -> nn.Module:
    name, options = study.network.name, study.network
    definition = define_network(study, "batch-frozen" if options.norm == "batch-frozen" else "instance")
    if definition is None:
        return _cnn(study, options)
    net: nn.Module = (_CLASSES.get(name) or getattr(nets, definition.name))(**definition.arguments)
    if name in _CHANGES:
        net = _CHANGES[name](net, options)
    return net


def _norm_layer(norm: tables.Norm, old: nn.Module) -> nn.Module | None:
    if not isinstance(old, (*_INSTANCE, *_BATCH)):
        return None
    channels = old.num_features
    if norm == "group":
        return nn.GroupNorm(next(g for g in _GROUPS if channels % g == 0), channels)
    axes = (_INSTANCE if isinstance(old, _INSTANCE) else _BATCH).index(type(old))
    if norm == "batch-frozen":
        frozen = _FROZEN[axes](channels, eps=old.eps if isinstance(old, _BATCH) else 1e-5)
        return frozen.requires_grad_(requires_grad=False).eval()
    return (_INSTANCE if norm == "instance" else _BATCH)[axes](channels, affine=True)


class FrozenBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm that stays in evaluation mode; its state dict is that of PyTorch's."""

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)


class _FrozenBatchNorm1d(FrozenBatchNorm, nn.BatchNorm1d):
    """For images with one axis."""


class _FrozenBatchNorm2d(FrozenBatchNorm, nn.BatchNorm2d):
    """For images with two axes."""


class _FrozenBatchNorm3d(FrozenBatchNorm, nn.BatchNorm3d):
    """For images with three axes."""


_FROZEN = (_FrozenBatchNorm1d, _FrozenBatchNorm2d, _FrozenBatchNorm3d)


class _ViT(nets.ViT):  # type: ignore[misc]
    """MONAI's ViT that returns its logits only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = super().forward(x)[0]
        return logits


def _set_dropout_of_resnet(net: _Network, options: tables.ResNet) -> _Network:
    if options.dropout:
        net.fc = nn.Sequential(nn.Dropout(options.dropout), net.fc)
    return net


def _set_dropout_of_efficientnet(net: _Network, options: tables.EfficientNet) -> _Network:
    net._dropout = nn.Dropout(options.dropout)  # MONAI's is fixed by the size
    return net


def _cnn(study: Study, net: Any) -> nn.Module:
    layers: list[nn.Module] = []
    before = study.task.channel_count
    for channels in net.channels:
        common: dict[str, Any] = {"strides": 2, "norm": _AFFINE_NORM, "dropout": net.dropout}
        if net.residual_units:
            layers.append(ResidualUnit(study.task.dimension, before, channels, subunits=net.residual_units, **common))
        else:
            layers.append(Convolution(study.task.dimension, before, channels, **common))
        before = channels
    pool = nn.AdaptiveAvgPool2d(1) if study.task.dimension == 2 else nn.AdaptiveAvgPool3d(1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(before, len(study.task.classes)))


# What MONAI's arguments do not say.
_CLASSES: dict[str, Callable[..., _Network]] = {"vit": _ViT}
_CHANGES: dict[str, Callable[[_Network, Any], _Network]] = {
    "resnet": _set_dropout_of_resnet,
    "efficientnet": _set_dropout_of_efficientnet,
}
