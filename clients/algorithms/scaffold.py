"""SCAFFOLD at the hospital: each step is corrected by what the site's gradient is known to differ from the common one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.tensors import server_record, state_last_counted, to_parameters, trainable
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.errors import ExchangeError
from medfl.messages.models import Tensors
from medfl.messages.records import CONTROL, TRAIN_LOSS

_STATE_NAME = "scaffold"


class CorrectionHooks(StepHooks):
    """Add a correction to the gradients, and follow how far a round goes along a constant gradient of 1.

    Parameters
    ----------
    correction : mapping of str to Tensor
        One tensor a parameter; parameters that are not named are not corrected.
    momentum : float
        Nesterov's, as in `medfl.clients.training.optimizers.build_optimizer`.

    Attributes
    ----------
    path_length : float
        The sum of the learning rates of all steps, and with momentum of all that each step still moves later: the paper's
        K * eta for a plain SGD of one rate.
    """

    def __init__(self, correction: Mapping[str, Tensor], momentum: float) -> None:
        self._correction, self._momentum = correction, momentum
        self._velocity = self.path_length = 0.0

    def adjust_gradients(self, net: nn.Module) -> None:
        """Add the correction."""
        named = trainable(net)
        for name, correction in self._correction.items():
            gradient = named[name].grad
            if gradient is not None:
                gradient.add_(correction)

    def after_step(self, net: nn.Module, learning_rate: float) -> None:
        """Take the same step on one number whose gradient is 1."""
        self._velocity = self._momentum * self._velocity + 1.0
        self.path_length += learning_rate * (1.0 + self._momentum * self._velocity)


class ScaffoldClient(ClientAlgorithm):
    """SCAFFOLD (Karimireddy et al. 2020, https://arxiv.org/abs/1910.06378, Algorithm 1, option II).

    A step goes along ``gradient + c - c_i``. Afterwards the site's control variate is the mean gradient that it saw,

        c_i+ = c_i - c + (x - y_i) / (K * eta),

    where ``K * eta`` is the way that the steps really taken go along a gradient of 1: learning rates change by the schedule,
    and momentum lengthens the way (`CorrectionHooks.reach`). It needs SGD: no such number exists for Adam, and a study that asks for
    it is refused. Where steps are clipped to a norm, c_i is of clipped gradients; the point where nothing moves any more stays.

    The change of c_i goes to the server, which counts it together with the model or not at all, and c_i itself to the site's
    disk under this round. The next time the site starts from the c_i of the round that the server says it counted last. So
    nothing is lost when a reply is: c_i of a refused round is never used, a site that was not sampled goes on from its old
    one, and a round that the server repeats after a crash starts from what it started from the first time. A site that lost
    the c_i which the server counts on says so, ``STATE-LOST``, and is left out, as it would shift the others.

    Layers that stay at the site are not in ``control`` and train plainly.

    Parameters
    ----------
    server_learning_rate : float
        Used by the server alone.
    """

    def __init__(self, server_learning_rate: float = 1.0) -> None:
        pass

    def train(self, work: TrainTask) -> TrainResult:
        """Train with the correction, renew the control variate, and tell its change."""
        received: Tensors = work.received
        common = _check_control(server_record(work, CONTROL), received)
        names = [name for name in trainable(work.net) if name in common]
        kept = state_last_counted(work, _STATE_NAME)
        own = {name: kept.get(name, np.zeros_like(common[name])) for name in names}
        correction = to_parameters(work.net, {name: common[name] - own[name] for name in names})
        terms = CorrectionHooks(correction, work.study.optimizer.momentum)
        loss = train_steps(work, work.net, terms)
        arrays = get_arrays(work.net)
        change: Arrays = {name: np.zeros_like(tensor) for name, tensor in common.items()}
        for name in names:
            gradient = (received[name] - arrays[name]) / terms.path_length
            change[name] = np.asarray(gradient - common[name], common[name].dtype)
        work.require_state().save(_STATE_NAME, {name: np.asarray(own[name] + change[name]) for name in names})
        return TrainResult(arrays, {TRAIN_LOSS: loss}, {CONTROL: change})


def _check_control(control: Tensors, model: Tensors) -> Tensors:
    """Return the control variate if it fits the model."""
    if any(name not in model or np.shape(tensor) != np.shape(model[name]) for name, tensor in control.items()):
        what = "the control variate that came does not fit the model."
        raise ExchangeError("CONTROL-MISMATCH", what, "Server and sites must run the same study and the same version of medfl.")
    return control
