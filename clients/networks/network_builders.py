"""Builders of the networks that a study may name, with the same initial weights on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.networks import nets
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn

from medfl.errors import ConfigError, Problem
from medfl.study import Study
from medfl.study import network_options as tables

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
            net: nn.Module = _BUILDERS[study.network.name](study, study.network)
        except ValueError as error:
            raise ConfigError([Problem("pyproject.toml", "network", f"MONAI refuses these arguments: {error}.")]) from None
        return replace_norm(net, study.network.norm)


def replace_norm(net: nn.Module, norm: tables.Norm) -> nn.Module:
    """Replace every instance and batch normalisation of a network by one kind; layer norms stay.

    Parameters
    ----------
    net : torch.nn.Module
        Changed in place. A layer with two names stays one layer.
    norm : {"instance", "group", "batch"}
        Instance norm is affine. Group norm has the largest number of groups among 8, 4, 2, 1 that divides the channels.

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
    return tuple(_BUILDERS)


def _norm_layer(norm: tables.Norm, old: nn.Module) -> nn.Module | None:
    if not isinstance(old, (*_INSTANCE, *_BATCH)):
        return None
    channels = old.num_features
    if norm == "group":
        return nn.GroupNorm(next(g for g in _GROUPS if channels % g == 0), channels)
    axes = (_INSTANCE if isinstance(old, _INSTANCE) else _BATCH).index(type(old))
    return (_INSTANCE if norm == "instance" else _BATCH)[axes](channels, affine=True)


class _ViT(nets.ViT):  # type: ignore[misc]
    """MONAI's ViT that returns its logits only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = super().forward(x)[0]
        return logits


def _sizes(study: Study) -> dict[str, Any]:
    task = study.task
    return {"spatial_dims": task.dimension, "in_channels": task.channel_count, "out_channels": len(task.classes)}


def _image_size(study: Study) -> tuple[int, ...]:
    size = study.training.patch or study.preprocessing.size
    if not size:
        problem = f"{study.network.name!r} needs all its inputs in one size."
        raise ConfigError(
            [Problem("pyproject.toml", "training.patch", problem, "Give 'training.patch' or 'preprocessing.size'.")]
        )
    return size


def _unet(study: Study, net: tables.UNet) -> _Network:
    return nets.UNet(
        **_sizes(study), channels=net.channels, strides=net.strides or (2,) * (len(net.channels) - 1),
        num_res_units=net.residual_units, norm=_AFFINE_NORM, dropout=net.dropout,
    )  # fmt: skip


def _basic_unet(study: Study, net: tables.BasicUNet) -> _Network:
    return nets.BasicUNet(**_sizes(study), features=net.features, norm=_AFFINE_NORM, dropout=net.dropout)


def _dynunet(study: Study, net: tables.DynUNet) -> _Network:
    levels, axes = len(net.filters), study.task.dimension
    strides = net.strides or ((1,) * axes,) + ((2,) * axes,) * (levels - 1)
    kernels = net.kernels or ((3,) * axes,) * levels
    return nets.DynUNet(
        **_sizes(study), kernel_size=kernels, strides=strides, upsample_kernel_size=strides[1:], filters=net.filters,
        dropout=net.dropout or None, norm_name=_AFFINE_NORM, res_block=net.residual,
    )  # fmt: skip


def _segresnet(study: Study, net: tables.SegResNet) -> _Network:
    return nets.SegResNet(**_sizes(study), init_filters=net.filters, norm=_AFFINE_NORM, dropout_prob=net.dropout or None)


def _swin_unetr(study: Study, net: tables.SwinUNETR) -> _Network:
    return nets.SwinUNETR(**_sizes(study), feature_size=net.features, norm_name=_AFFINE_NORM, drop_rate=net.dropout)


def _unetr(study: Study, net: tables.UNETR) -> _Network:
    return nets.UNETR(
        **_sizes(study), img_size=_image_size(study), feature_size=net.features, hidden_size=net.hidden, mlp_dim=4 * net.hidden,
        num_heads=net.heads, norm_name=_AFFINE_NORM, dropout_rate=net.dropout,
    )  # fmt: skip


def _densenet121(study: Study, net: tables.DenseNet121) -> _Network:
    return nets.DenseNet121(**_sizes(study), norm=_AFFINE_NORM, dropout_prob=net.dropout)


def _resnet(study: Study, net: tables.ResNet) -> _Network:
    build = {10: nets.resnet10, 18: nets.resnet18, 34: nets.resnet34, 50: nets.resnet50}[net.depth]
    classes = len(study.task.classes)
    network = build(
        spatial_dims=study.task.dimension, n_input_channels=study.task.channel_count, num_classes=classes, norm=_AFFINE_NORM,
        conv1_t_stride=2, widen_factor=net.width,
    )  # fmt: skip
    if net.dropout:
        network.fc = nn.Sequential(nn.Dropout(net.dropout), network.fc)
    return network


def _efficientnet(study: Study, net: tables.EfficientNet) -> _Network:
    network = nets.EfficientNetBN(
        f"efficientnet-{net.size}", pretrained=False, spatial_dims=study.task.dimension, in_channels=study.task.channel_count,
        num_classes=len(study.task.classes), norm=_AFFINE_NORM,
    )  # fmt: skip
    network._dropout = nn.Dropout(net.dropout)  # MONAI's is fixed by the size
    return network


def _vit(study: Study, net: tables.ViT) -> _Network:
    return _ViT(
        in_channels=study.task.channel_count, img_size=_image_size(study), patch_size=net.patch, hidden_size=net.hidden,
        mlp_dim=4 * net.hidden, num_layers=net.layers, num_heads=net.heads, classification=True,
        num_classes=len(study.task.classes), dropout_rate=net.dropout, spatial_dims=study.task.dimension, post_activation=None,
    )  # fmt: skip


def _cnn(study: Study, net: tables.SmallCNN) -> _Network:
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


_BUILDERS: dict[str, Callable[[Study, Any], _Network]] = {
    "unet": _unet,
    "basic-unet": _basic_unet,
    "dynunet": _dynunet,
    "segresnet": _segresnet,
    "swin-unetr": _swin_unetr,
    "unetr": _unetr,
    "densenet121": _densenet121,
    "resnet": _resnet,
    "efficientnet": _efficientnet,
    "vit": _vit,
    "cnn": _cnn,
}
