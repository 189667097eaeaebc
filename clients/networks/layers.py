"""The layers that stay at a hospital: which they are, and how they and the shared ones make a whole model.

FedBN (Li et al. 2021, https://arxiv.org/abs/2102.07623) keeps the normalisation layers, FedPer (Arivazhagan et al. 2019,
https://arxiv.org/abs/1912.00818) the head; a study may stack either on another algorithm. Training sees a whole model and
knows nothing of it. Only shared tensors are exchanged: the others lie in the site's state and never leave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

from torch import nn

from medfl.clients.networks.arrays import Arrays, distinct_tensors, get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.training.session import TrainOutcome
from medfl.clients.training.task import TrainTask
from medfl.messages.models import Tensors
from medfl.study import Study

_STATE_NAME = "layers"
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)  # the first: batch and instance, of any dimension

# The layers whose output is the logits. In MONAI's UNet that is the whole last block: with residual units, the logits are a
# sum of its transposed convolution and of the convolution behind that.
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
        Every normalisation layer, or the layers whose output is the logits.
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


def with_local_layers(work: TrainTask) -> TrainTask:
    """Return the work with the whole model: what came, and the site's own layers, before its first round the study's."""
    if not _has_local_layers(work):
        return work
    own = work.require_state().load(_STATE_NAME) or initial_local_layers(work.study)
    return dataclasses.replace(work, received=_merge_layers(work.net, work.received, own))


def with_initial_layers(work: TrainTask) -> TrainTask:
    """Return the work with the model that a hospital would get which joins now: what came, and the study's first layers."""
    if not _has_local_layers(work):
        return work
    return dataclasses.replace(work, received=_merge_layers(work.net, work.received, initial_local_layers(work.study)))


def without_local_layers(work: TrainTask, outcome: TrainOutcome) -> TrainOutcome:
    """Keep the site's own layers, and return what may leave: nothing that bears the name of one of them."""
    if not _has_local_layers(work):
        return outcome
    local = local_names(work.study, work.net)
    work.require_state().save(_STATE_NAME, {name: tensor for name, tensor in outcome.arrays.items() if name in local})
    records = {record: _drop_layers(local, tensors) for record, tensors in outcome.records.items()}
    return dataclasses.replace(outcome, arrays=_drop_layers(local, outcome.arrays), records=records)


@lru_cache(maxsize=4)
def initial_local_layers(study: Study) -> Arrays:
    """Return the local layers that every site starts from; the study's seed decides them."""
    net = build_network(study)
    local = local_names(study, net)
    return {name: tensor for name, tensor in get_arrays(net).items() if name in local}


def _has_local_layers(work: TrainTask) -> bool:
    return bool(work.study.local_layers) and work.arm != "local"  # alone, a hospital has nobody to share with


def _merge_layers(net: nn.Module, came: Tensors, own: Tensors) -> Arrays:
    """Put a model together in the order of its network; what does not belong to it comes last, and is refused when loaded."""
    tensors = {**came, **own}
    return {name: tensors.pop(name) for name in distinct_tensors(net) if name in tensors} | tensors


def _drop_layers(local: Collection[str], tensors: Tensors) -> Arrays:
    return {name: tensor for name, tensor in tensors.items() if name not in local}


def _tensors(layer: nn.Module) -> list[Any]:
    return [*layer.parameters(), *layer.buffers()]
