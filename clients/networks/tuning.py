"""The network in training: where a study trains a part of it, the rest is frozen, and low-rank updates are put in.

A plain network comes from `medfl.clients.networks.network_builders`; that is what a trained model is in the end.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from medfl.clients.networks.arrays import distinct_tensors
from medfl.clients.networks.layer_kinds import find_layers
from medfl.clients.networks.low_rank import add_low_rank
from medfl.clients.networks.network_builders import FrozenBatchNorm, build_network, build_network_without_memory
from medfl.errors import ConfigError, Problem
from medfl.study import Study
from medfl.study.tuning import tune_patterns

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


def build_training_network(study: Study) -> nn.Module:
    """Build the network of a study as it is trained; parameters that are not trained need no gradient.

    Its outputs are those of the plain network, as low-rank updates begin at 0. Where all is trained it is the plain network.

    Raises
    ------
    ConfigError
        As `build_network`; and when a pattern of ``training.tune`` is the name of no parameter.
    """
    return _prepare(study, build_network(study))


def build_training_network_without_memory(study: Study) -> nn.Module:
    """Build the network as it is trained, with the shapes of its tensors alone, on the device "meta"."""
    return _prepare(study, build_network_without_memory(study))


def trained_names(study: Study, net: nn.Module) -> frozenset[str]:
    """Return the names of the tensors that training changes: parameters, and the statistics of layers that have one of these.

    Parameters
    ----------
    study : Study
        Says which.
    net : torch.nn.Module
        Built by `build_training_network`.
    """
    tensors = distinct_tensors(net)
    if not study.training.tunes_part:
        return frozenset(tensors)
    changing: set[int] = set()
    for layer in net.modules():
        own = list(layer.parameters(recurse=False))
        if any(parameter.requires_grad for parameter in own):
            changing |= {id(p) for p in own if p.requires_grad} | {id(b) for b in layer.buffers(recurse=False)}
    return frozenset(name for name, tensor in tensors.items() if id(tensor) in changing)


def start_training(study: Study, net: nn.Module) -> None:
    """Put a network into training mode, but for batch normalisation that is frozen: its statistics stay as they are."""
    net.train()
    if study.training.tunes_part:
        for layer in net.modules():
            if isinstance(layer, _BATCH_NORM) and not any(p.requires_grad for p in layer.parameters(recurse=False)):
                layer.eval()


def _prepare(study: Study, net: nn.Module) -> nn.Module:
    if not study.training.tunes_part:
        return net
    chosen = _find_parameters(study, net)
    if "lora" in study.training.tune:
        chosen += add_low_rank(net, study.training, study.seed, chosen)
    tuned = {id(parameter) for parameter in chosen}
    for parameter in net.parameters():
        parameter.requires_grad_(id(parameter) in tuned)
    _check_parts(study, net, tuned)
    return net


def _check_parts(study: Study, net: nn.Module, tuned: Collection[int]) -> None:
    """Refuse a study in which nothing that is shared is trained, or nothing of layers that stay at the sites, or all is."""
    never = {id(p) for layer in net.modules() if isinstance(layer, FrozenBatchNorm) for p in layer.parameters()}
    if all(id(parameter) in tuned for parameter in net.parameters() if id(parameter) not in never):
        what = "what is named is every parameter of the network that can be trained, so that no part would be left as it is."
        raise ConfigError([Problem("pyproject.toml", "training.tune", what, 'Write tune = "all", or name fewer.')])
    local = {
        kind: {id(p) for layer in find_layers(study, net, kind) for p in layer.parameters()} for kind in study.local_layers
    }
    problems = [
        f"nothing is trained of the layers of kind {kind!r}, which stay at the hospitals."
        for kind, layers in local.items()
        if not layers & set(tuned)
    ]
    if not set(tuned) - set().union(*local.values()):
        problems.append("nothing is trained of what the hospitals share, so that nothing would be learned together.")
    head = {id(p) for layer in find_layers(study, net, "head") for p in layer.parameters()}
    if study.strategy.name == "moon" and set(tuned) <= head:
        problems.append("'moon' compares what comes before the head, which does not change where the head alone is trained.")
    if problems:
        raise ConfigError([Problem("pyproject.toml", "training.tune", what, "Name more layers.") for what in problems])


def _find_parameters(study: Study, net: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained as they are, each once."""
    tune = study.training.tune
    kinds = [kind for kind in ("head", "norm") if kind in tune]
    found: list[nn.Parameter] = [p for kind in kinds for layer in find_layers(study, net, kind) for p in layer.parameters()]
    fixed = {id(p) for layer in net.modules() if _must_stay(study, layer) for p in layer.parameters()}
    names = {name: p for name, p in net.named_parameters() if p.requires_grad and id(p) not in fixed}
    for pattern in tune_patterns(tune):
        matching = [parameter for name, parameter in names.items() if fnmatchcase(name, pattern)]
        if not matching:
            example = next(reversed(names))
            problem = f"{pattern!r} is the name of no parameter of {study.network.name!r} that can be trained."
            fix = f"The names are such as {next(iter(names))!r} and {example!r}."
            raise ConfigError([Problem("pyproject.toml", "training.tune", problem, fix)])
        found += matching
    return list({id(p): p for p in found if id(p) not in fixed}.values())


def _must_stay(study: Study, layer: Any) -> bool:
    """Say whether a layer is batch normalisation that all hospitals share, whose statistics cannot be averaged."""
    return isinstance(layer, _BATCH_NORM) and "norm" not in study.local_layers
