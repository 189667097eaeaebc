"""The network of a study as a class of MONAI with its arguments: what builds it here, and anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medfl.errors import ConfigError, Problem
from medfl.study import network_options as tables
from medfl.study.study import Study

_NORMS: Mapping[tables.Norm, tuple[str, dict[str, Any]]] = {
    "instance": ("instance", {"affine": True}),
    "group": ("group", {"num_groups": 8}),  # MONAI takes one number for all layers, or refuses channels that 8 does not divide
    "batch": ("batch", {"affine": True}),
    "batch-frozen": ("batch", {"affine": True}),
}
_EFFICIENTNET_BATCH = ("batch", {"eps": 1e-3, "momentum": 0.01})  # MONAI's own, with which published weights were trained


@dataclass(frozen=True)
class NetworkDefinition:
    """A network that one callable of MONAI builds.

    Parameters
    ----------
    name : str
        Name in `monai.networks.nets`, such as ``"UNet"``.
    arguments : dict
        Keyword arguments: JSON values, or tuples of them.
    """

    name: str
    arguments: dict[str, Any]

    @property
    def target(self) -> str:
        """Full name of the callable."""
        return f"monai.networks.nets.{self.name}"


def define_network(study: Study, norm: tables.Norm = "instance") -> NetworkDefinition | None:
    """Return the class of MONAI that is the network of a study; None for a network that is put together of MONAI's blocks.

    Parameters
    ----------
    study : Study
        Names the network, the task's channels, classes and dimension, and the size of patches or images.
    norm : {"instance", "group", "batch", "batch-frozen"}
        Normalisation of all layers that have one; layer norms stay.

    Raises
    ------
    ConfigError
        When a transformer lacks the size of its images.
    """
    define = _DEFINITIONS.get(study.network.name)
    return define and define(study, study.network, _NORMS[norm])


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


def _unet(study: Study, net: tables.UNet, norm: Any) -> NetworkDefinition:
    levels = {"channels": net.channels, "strides": net.strides or (2,) * (len(net.channels) - 1)}
    return NetworkDefinition(
        "UNet", {**_sizes(study), **levels, "num_res_units": net.residual_units, "norm": norm, "dropout": net.dropout}
    )


def _basic_unet(study: Study, net: tables.BasicUNet, norm: Any) -> NetworkDefinition:
    return NetworkDefinition("BasicUNet", {**_sizes(study), "features": net.features, "norm": norm, "dropout": net.dropout})


def _dynunet(study: Study, net: tables.DynUNet, norm: Any) -> NetworkDefinition:
    count, axes = len(net.filters), study.task.dimension
    strides = net.strides or ((1,) * axes,) + ((2,) * axes,) * (count - 1)
    levels = {
        "kernel_size": net.kernels or ((3,) * axes,) * count,
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": net.filters,
    }
    rest = {"dropout": net.dropout or None, "norm_name": norm, "res_block": net.residual}
    return NetworkDefinition("DynUNet", {**_sizes(study), **levels, **rest})


def _segresnet(study: Study, net: tables.SegResNet, norm: Any) -> NetworkDefinition:
    rest = {"init_filters": net.filters, "norm": norm, "dropout_prob": net.dropout or None}
    return NetworkDefinition("SegResNet", {**_sizes(study), **rest})


def _swin_unetr(study: Study, net: tables.SwinUNETR, norm: Any) -> NetworkDefinition:
    rest = {"feature_size": net.features, "norm_name": norm, "drop_rate": net.dropout}
    return NetworkDefinition("SwinUNETR", {**_sizes(study), **rest})


def _unetr(study: Study, net: tables.UNETR, norm: Any) -> NetworkDefinition:
    sizes = {"img_size": _image_size(study), "feature_size": net.features, "hidden_size": net.hidden, "mlp_dim": 4 * net.hidden}
    rest = {"num_heads": net.heads, "norm_name": norm, "dropout_rate": net.dropout}
    return NetworkDefinition("UNETR", {**_sizes(study), **sizes, **rest})


def _densenet121(study: Study, net: tables.DenseNet121, norm: Any) -> NetworkDefinition:
    return NetworkDefinition("DenseNet121", {**_sizes(study), "norm": norm, "dropout_prob": net.dropout})


def _resnet(study: Study, net: tables.ResNet, norm: Any) -> NetworkDefinition:
    sizes = {
        "spatial_dims": study.task.dimension,
        "n_input_channels": study.task.channel_count,
        "num_classes": len(study.task.classes),
    }
    return NetworkDefinition(f"resnet{net.depth}", {**sizes, "norm": norm, "conv1_t_stride": 2, "widen_factor": net.width})


def _efficientnet(study: Study, net: tables.EfficientNet, norm: Any) -> NetworkDefinition:
    norm = _EFFICIENTNET_BATCH if norm is _NORMS["batch-frozen"] else norm
    sizes = {
        "spatial_dims": study.task.dimension,
        "in_channels": study.task.channel_count,
        "num_classes": len(study.task.classes),
    }
    return NetworkDefinition(
        "EfficientNetBN", {"model_name": f"efficientnet-{net.size}", "pretrained": False, **sizes, "norm": norm}
    )


def _vit(study: Study, net: tables.ViT, _norm: Any) -> NetworkDefinition:
    sizes = {
        "in_channels": study.task.channel_count,
        "img_size": _image_size(study),
        "patch_size": net.patch,
        "hidden_size": net.hidden,
        "mlp_dim": 4 * net.hidden,
        "num_layers": net.layers,
        "num_heads": net.heads,
    }
    head = {"classification": True, "num_classes": len(study.task.classes), "post_activation": None}
    return NetworkDefinition("ViT", {**sizes, **head, "dropout_rate": net.dropout, "spatial_dims": study.task.dimension})


_DEFINITIONS: Mapping[str, Callable[[Study, Any, Any], NetworkDefinition]] = {
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
}

DEFINED_NETWORKS = tuple(_DEFINITIONS)
