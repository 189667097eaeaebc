"""Parts that several client algorithms share: named tensors, the proximal term, state that the server counts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medfl.clients.networks.layers import local_names
from medfl.clients.training.task import StepHooks, TrainTask
from medfl.errors import ExchangeError
from medfl.messages.models import Tensor as Array
from medfl.messages.models import Tensors
from medfl.messages.records import COUNTED, ROUND


def trainable(net: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training changes, under the names under which they are exchanged."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def shared_model(task: TrainTask) -> dict[str, Array]:
    """Return the received model without the layers that stay at the site."""
    local = local_names(task.study, task.net)
    return {name: tensor for name, tensor in task.received.items() if name not in local}


def to_parameters(net: nn.Module, arrays: Tensors) -> dict[str, Tensor]:
    """Return arrays as tensors with dtype and device of the parameters of the same names; other names are left out."""
    return {
        name: torch.tensor(arrays[name], dtype=parameter.dtype, device=parameter.device)
        for name, parameter in trainable(net).items()
        if name in arrays
    }


class ProximalTerm(StepHooks):
    """The proximal term ``strength / 2 * |w - anchor|^2`` of the loss.

    Its gradient ``strength * (w - anchor)`` is added to that of the loss, which is the same and needs no graph. The reported
    loss is the study's alone.

    Parameters
    ----------
    strength : float
        Weight of the term, not negative.
    anchor : mapping of str to Tensor
        One tensor for each parameter; parameters that are not named are not in the term.
    """

    def __init__(self, strength: float, anchor: Mapping[str, Tensor]) -> None:
        self._strength, self._anchor = strength, anchor

    def adjust_gradients(self, net: nn.Module) -> None:
        """Add the gradient of the term."""
        named = trainable(net)
        for name, anchor in self._anchor.items():
            parameter = named[name]
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - anchor, alpha=self._strength)


def server_record(task: TrainTask, record: str) -> Mapping[str, Array]:
    """Return a record that the server sent along with the model.

    Raises
    ------
    ExchangeError
        ``RECORD-MISSING``.
    """
    if record not in task.records:
        what = f"the server sent no record {record!r} with the model."
        raise ExchangeError("RECORD-MISSING", what, "Server and sites must run the same study and the same version of medfl.")
    return task.records[record]


def state_last_counted(task: TrainTask, name: str) -> dict[str, Array]:
    """Return what the site saved in the round whose reply the server counted last, nothing if it never counted one.

    What the site saved in later rounds belongs to replies that were lost or refused: see
    `medfl.strategies.base.client_state_mean`.

    Raises
    ------
    RunError
        ``STATE-LOST`` when it is no longer there.
    """
    last = int(server_record(task, COUNTED)[ROUND])
    return (task.state.load(name, of_round=last) or {}) if last else {}
