"""Local layers in a round: the site's own complete the received model, and are saved at the site when the round is over.

Training sees a whole model and knows nothing of it. Only shared tensors are exchanged: the others never leave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from torch import nn

from medfl.clients.networks.arrays import Arrays, distinct_tensors
from medfl.clients.networks.layers import initial_local_layers, local_names
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.models import Tensors

_STATE_NAME = "layers"


def with_local_layers(task: TrainTask) -> TrainTask:
    """Return the task with a whole model: the received layers and the site's own, which start as the study's initial ones."""
    if not has_local_layers(task):
        return task
    own = task.state.load(_STATE_NAME) or initial_local_layers(task.study)
    return dataclasses.replace(task, received=_merge_layers(task.net, task.received, own))


def with_initial_layers(task: TrainTask) -> TrainTask:
    """Return the task with the model that a site gets which joins now: the received layers and the study's initial ones."""
    if not has_local_layers(task):
        return task
    return dataclasses.replace(task, received=_merge_layers(task.net, task.received, initial_local_layers(task.study)))


def complete_model(net: nn.Module, shared: Tensors, state: ClientState) -> Arrays | None:
    """Return the shared layers together with those that a site has saved in its state; None where it has saved none."""
    own = state.load(_STATE_NAME)
    return None if own is None else _merge_layers(net, shared, own)


def without_local_layers(task: TrainTask, result: TrainResult) -> TrainResult:
    """Save the site's own layers in its state, and return what may leave: no tensor under the name of a local one."""
    if not has_local_layers(task):
        return result
    local = local_names(task.study, task.net)
    task.state.save(_STATE_NAME, {name: tensor for name, tensor in result.arrays.items() if name in local})
    records = {record: _drop_layers(local, tensors) for record, tensors in result.records.items()}
    return dataclasses.replace(result, arrays=_drop_layers(local, result.arrays), records=records)


def shared_model(task: TrainTask) -> Arrays:
    """Return the received model without the layers that stay at the site."""
    return _drop_layers(local_names(task.study, task.net), task.received)


def has_local_layers(task: TrainTask) -> bool:
    """Return whether layers of the model stay at the site."""
    return bool(task.study.local_layers) and task.arm != "local"  # a site that trains alone shares nothing


def _merge_layers(net: nn.Module, shared: Tensors, local: Tensors) -> Arrays:
    """Put a model together in the order of its network; foreign tensors come last, and loading the model refuses them."""
    tensors = {**shared, **local}
    return {name: tensors.pop(name) for name in distinct_tensors(net) if name in tensors} | tensors


def _drop_layers(local: Collection[str], tensors: Tensors) -> Arrays:
    return {name: tensor for name, tensor in tensors.items() if name not in local}
