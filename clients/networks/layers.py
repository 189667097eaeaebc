"""Layers of a network by what happens to them: those that are exchanged, those that stay at a site, and those that are frozen.

FedBN (Li et al. 2021, https://arxiv.org/abs/2102.07623) keeps the normalisation layers, FedPer (Arivazhagan et al. 2019,
https://arxiv.org/abs/1912.00818) the head; a study may combine either with another algorithm. Where a study trains a part of
the network, the rest stays as it was at the start, and every site has it (`medfl.clients.networks.tuning`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from medfl.clients.networks.arrays import Arrays, distinct_tensors, get_arrays
from medfl.clients.networks.layer_kinds import find_layers
from medfl.clients.networks.tuning import trained_names
from medfl.study import Study


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


def shared_names(study: Study, net: nn.Module, arm: str = "federated") -> tuple[str, ...]:
    """Return the names of the tensors that are exchanged, in the order of `get_arrays`.

    Parameters
    ----------
    study : Study
        Names the layers that stay and those that are trained.
    net : torch.nn.Module
        Built by `build_training_network` for this study.
    arm : str
        Arm of the comparison; only in "federated" do layers stay at a site.
    """
    trained, local = trained_names(study, net), local_names(study, net, None if arm == "federated" else ())
    return tuple(name for name in distinct_tensors(net) if name in trained and name not in local)


def shared_arrays(study: Study, net: nn.Module, arm: str = "federated") -> Arrays:
    """Copy the tensors of a network that are exchanged."""
    arrays = get_arrays(net)
    return {name: arrays[name] for name in shared_names(study, net, arm)}


def base_names(study: Study, net: nn.Module, arm: str = "federated") -> tuple[str, ...]:
    """Return the names of all tensors but the layers that stay at a site, in the order of `get_arrays`."""
    local = local_names(study, net, None if arm == "federated" else ())
    return tuple(name for name in distinct_tensors(net) if name not in local)


def _tensors(layer: nn.Module) -> list[Any]:
    return [*layer.parameters(), *layer.buffers()]
