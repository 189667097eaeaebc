"""Layers of a network by what happens to them: those that stay at a site, and the shared ones, which are exchanged.

FedBN (Li et al. 2021, https://arxiv.org/abs/2102.07623) keeps the normalisation layers, FedPer (Arivazhagan et al. 2019,
https://arxiv.org/abs/1912.00818) the head; a study may combine either with another algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

from torch import nn

from medfl.clients.networks.arrays import Arrays, distinct_tensors, get_arrays
from medfl.clients.networks.network_builders import build_network
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


def local_names(study: Study, net: nn.Module, kinds: Collection[str] | None = None) -> frozenset[str]:
    """Return the names of the tensors that stay at a site: parameters and buffers, so running statistics too.

    Parameters
    ----------
    study, net
        As for `find_layers`.
    kinds : collection of str, optional
        ``study.local_layers`` unless given.
    """
    chosen = study.local_layers if kinds is None else kinds
    staying = {id(tensor) for kind in chosen for layer in find_layers(study, net, kind) for tensor in _tensors(layer)}
    return frozenset(name for name, tensor in distinct_tensors(net).items() if id(tensor) in staying)


def shared_names(study: Study, net: nn.Module) -> tuple[str, ...]:
    """Return the names of the tensors that are exchanged, in the order of `get_arrays`."""
    local = local_names(study, net)
    return tuple(name for name in distinct_tensors(net) if name not in local)


def shared_arrays(study: Study, net: nn.Module) -> Arrays:
    """Copy the tensors of a network that are exchanged."""
    arrays = get_arrays(net)
    return {name: arrays[name] for name in shared_names(study, net)}


@lru_cache(maxsize=4)
def initial_local_layers(study: Study) -> Arrays:
    """Return the local layers that every site starts from, made from the study's seed."""
    net = build_network(study)
    local = local_names(study, net)
    return {name: tensor for name, tensor in get_arrays(net).items() if name in local}


def _tensors(layer: nn.Module) -> list[Any]:
    return [*layer.parameters(), *layer.buffers()]
