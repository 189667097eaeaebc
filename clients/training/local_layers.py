"""Layers in a round that are not exchanged: they complete the received model, and a site's own are saved when it is over.

Training sees a whole model and knows nothing of it. Only shared tensors are exchanged: a site's own never leave, and frozen
ones are the same everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from torch import nn

from medfl.clients.networks.arrays import Arrays, distinct_tensors
from medfl.clients.networks.layers import local_names, shared_names
from medfl.clients.networks.network_builders import build_network
from medfl.clients.start.initial_layers import initial_kept_layers
from medfl.clients.start.kept_start import kept_start
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.models import Tensors
from medfl.runs.low_rank_arrays import merge_low_rank
from medfl.study import Study

_STATE_NAME = "layers"


def with_local_layers(task: TrainTask) -> TrainTask:
    """Return the task with a whole model: the received layers, the frozen ones, and the site's own (at first initial ones)."""
    if not _keeps_layers(task):
        return task
    own = task.state.load(_STATE_NAME) if has_local_layers(task) else None
    kept = _initial_layers(task) | (own or {})
    return dataclasses.replace(task, received=_merge_layers(task.net, task.received, kept))


def with_initial_layers(task: TrainTask) -> TrainTask:
    """Return the task with the model that a site gets which joins now: the received layers and the study's initial ones."""
    if not _keeps_layers(task):
        return task
    kept = _initial_layers(task)
    return dataclasses.replace(task, received=_merge_layers(task.net, task.received, kept))


def complete_model(study: Study, shared: Tensors, state: ClientState) -> Arrays | None:
    """Return a model of the plain network, given the layers of all sites: with those that a site has saved in its state.

    None where it has saved none.
    """
    own = state.load(_STATE_NAME)
    return None if own is None else _merge_layers(build_network(study), shared, merge_low_rank(study, own))


def without_local_layers(task: TrainTask, result: TrainResult) -> TrainResult:
    """Save the site's own layers in its state, and return what may leave: no tensor under the name of one that is kept."""
    if not _keeps_layers(task):
        return result
    if has_local_layers(task):
        local = local_names(task.study, task.net)
        task.state.save(_STATE_NAME, {name: tensor for name, tensor in result.arrays.items() if name in local})
    kept = _initial_layers(task)
    records = {record: _drop_layers(kept, tensors) for record, tensors in result.records.items()}
    return dataclasses.replace(result, arrays=_drop_layers(kept, result.arrays), records=records)


def shared_model(task: TrainTask) -> Arrays:
    """Return those tensors of the received model that are exchanged."""
    return {name: task.received[name] for name in shared_names(task.study, task.net, task.arm)}


def has_local_layers(task: TrainTask) -> bool:
    """Return whether layers of the model are the site's own."""
    return bool(task.study.local_layers) and task.arm == "federated"  # in the other arms nothing is shared


def _keeps_layers(task: TrainTask) -> bool:
    return has_local_layers(task) or task.study.training.tunes_part


def _initial_layers(task: TrainTask) -> Arrays:
    return initial_kept_layers(task.study, task.arm, kept_start(task.study, task.site))


def _merge_layers(net: nn.Module, shared: Tensors, local: Tensors) -> Arrays:
    """Put a model together in the order of its network; foreign tensors come last, and loading the model refuses them."""
    tensors = {**shared, **local}
    return {name: tensors.pop(name) for name in distinct_tensors(net) if name in tensors} | tensors


def _drop_layers(kept: Collection[str], tensors: Tensors) -> Arrays:
    return {name: tensor for name, tensor in tensors.items() if name not in kept}
