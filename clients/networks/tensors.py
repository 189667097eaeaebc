"""Arithmetic on the named tensors of a network, as algorithms against client drift need it."""

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
    """Return the parameters that training changes, under the names by which they are exchanged."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def shared_model(work: TrainTask) -> dict[str, Array]:
    """Return the received model without the layers that stay at the site, which nothing pulls anywhere."""
    local = local_names(work.study, work.net)
    return {name: tensor for name, tensor in work.received.items() if name not in local}


def to_parameters(net: nn.Module, arrays: Tensors) -> dict[str, Tensor]:
    """Copy arrays to where the parameters of their names lie, in the types of those; others are left out."""
    return {
        name: torch.tensor(arrays[name], dtype=parameter.dtype, device=parameter.device)
        for name, parameter in trainable(net).items()
        if name in arrays
    }


class ProximalTerm(StepHooks):
    """Pull parameters to an anchor: the loss gets ``strength / 2 * |w - anchor|^2``.

    What is added is the gradient of that, ``strength * (w - anchor)``, which is the same and needs no graph. The loss that
    is reported is the study's alone.

    Parameters
    ----------
    strength : float
        Of the spring, not negative.
    anchor : mapping of str to Tensor
        One tensor a parameter; parameters that are not named are free.
    """

    def __init__(self, strength: float, anchor: Mapping[str, Tensor]) -> None:
        self._strength, self._anchor = strength, anchor

    def adjust_gradients(self, net: nn.Module) -> None:
        """Add the pull."""
        named = trainable(net)
        for name, place in self._anchor.items():
            parameter = named[name]
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - place, alpha=self._strength)


def server_record(work: TrainTask, record: str) -> Mapping[str, Array]:
    """Return what the server sent beside the model.

    Raises
    ------
    ExchangeError
        ``RECORD-MISSING``.
    """
    if record not in work.records:
        what = f"the server sent no {record!r} with the model."
        raise ExchangeError("RECORD-MISSING", what, "Server and sites must run the same study and the same version of medfl.")
    return work.records[record]


def state_last_counted(work: TrainTask, name: str) -> dict[str, Array]:
    """Return what the site kept in the round in which the server counted it last, nothing if it never did.

    What the site kept in later rounds, whose replies were lost or refused, the server does not know of: see
    `medfl.strategies.base.client_state_mean`.

    Raises
    ------
    RunError
        ``STATE-LOST`` when it is no longer there.
    """
    last = int(server_record(work, COUNTED)[ROUND])
    return (work.require_state().load(name, of_round=last) or {}) if last else {}
