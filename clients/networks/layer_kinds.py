"""Kinds of layers of a network: its normalisation layers, and its head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from torch import nn

from medfl.study import Study

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)  # the first: batch and instance, of any dimension

# The layers whose output is the logits. In MONAI's UNet that is the whole last block: with residual units, the logits are the
# sum of its transposed convolution and of the convolution that follows.
_HEADS: Mapping[str, Callable[[Any], nn.Module]] = {
    "unet": lambda net: net.model[2],
    "basic-unet": attrgetter("final_conv"),
    "dynunet": attrgetter("output_block"),
    "segresnet": lambda net: net.conv_final[2],
    "swin-unetr": attrgetter("out"),
    "unetr": attrgetter("out"),
    "densenet121": attrgetter("class_layers.out"),
    "resnet": attrgetter("fc"),
    "efficientnet": attrgetter("_fc"),
    "vit": attrgetter("classification_head"),
    "cnn": lambda net: net[-1],
}


def find_layers(study: Study, net: nn.Module, kind: str) -> list[nn.Module]:
    """Return the layers of one kind.

    Parameters
    ----------
    study : Study
        Names the network.
    net : torch.nn.Module
        Built by `build_network` for this study.
    kind : {"norm", "head"}
        All normalisation layers, or the layers whose output is the logits.
    """
    if kind == "norm":
        return [layer for layer in net.modules() if isinstance(layer, _NORMS)]
    return [_HEADS[study.network.name](net)]
