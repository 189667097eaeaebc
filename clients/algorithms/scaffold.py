"""SCAFFOLD at the client: control variates correct each step for the client's drift."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.tensors import to_parameters, trainable
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import StepHooks, TrainResult, TrainTask
from medfl.errors import ExchangeError
from medfl.messages.models import Tensors
from medfl.messages.records import CONTROL, COUNTED, TRAIN_LOSS

_STATE_NAME = "scaffold"


class CorrectionHooks(StepHooks):
    """Hooks that add a correction to the gradients, and measure how far a round goes along a constant gradient of 1.

    Parameters
    ----------
    correction : mapping of str to Tensor
        The paper's c - c_i, one tensor for each parameter; parameters that are not named are not corrected.
    momentum : float
        Nesterov momentum, as in `medfl.clients.training.optimizers.build_optimizer`.

    Attributes
    ----------
    path_length : float
        Sum of the learning rates of all steps, with momentum including what each step still moves later: the paper's K * eta
        for plain SGD with one rate.
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
        """Take the same step with a single number whose gradient is always 1."""
        self._velocity = self._momentum * self._velocity + 1.0
        self.path_length += learning_rate * (1.0 + self._momentum * self._velocity)


class ScaffoldClient(ClientAlgorithm):
    """SCAFFOLD (Karimireddy et al. 2020, https://arxiv.org/abs/1910.06378, Algorithm 1, option II).

    Site i keeps a control variate c_i, its estimate of its own gradient; the server keeps their mean c and sends it with the
    model x. Starting from y_i = x, each of K steps of size eta goes along the corrected gradient; then c_i is renewed:

        y_i <- y_i - eta * (g_i(y_i) - c_i + c),        c_i+ = c_i - c + (x - y_i) / (K * eta).

    The reply holds the model and the change c_i+ - c_i. In the first round, where all control variates are 0, training is
    FedAvg's to the last bit.

    What differs from the paper:

    - ``K * eta`` is the distance that the steps really taken go along a constant gradient of 1 (`CorrectionHooks.path_length`),
      as learning rates follow a schedule and momentum lengthens the path. For plain SGD with one rate it is the paper's number.
      Adam has no such number, so a study that combines it with SCAFFOLD is refused.
    - Where gradients are clipped to a norm, c_i is the mean of clipped gradients. The fixed point stays the same.
    - Layers that stay at the site have no control variate and are trained plainly.

    Replies can get lost. So c_i+ is saved under the number of its round, and the site starts from the c_i of the round that the
    server says it counted last: that of a lost or refused reply is never used, a site that was not sampled continues from its
    old one, and a round that is repeated after a crash gives the same bits. A site that lost the c_i on which the server counts
    fails with ``STATE-LOST`` and is left out, since it would shift the mean of the others.

    Parameters
    ----------
    server_learning_rate : float
        Used by the server alone.
    """

    def __init__(self, server_learning_rate: float = 1.0) -> None:
        pass

    def train(self, task: TrainTask) -> TrainResult:
        """Train with the correction, renew the control variate, and return its change."""
        received: Tensors = task.received
        common = _check_control(task.server_record(CONTROL), received)
        names = [name for name in trainable(task.net) if name in common]
        saved = task.state.load_last_counted(_STATE_NAME, task.server_record(COUNTED))
        own = {name: saved.get(name, np.zeros_like(common[name])) for name in names}
        correction = to_parameters(task.net, {name: common[name] - own[name] for name in names})
        hooks = CorrectionHooks(correction, task.study.optimizer.momentum)
        loss = train_steps(task, task.net, hooks)
        arrays = get_arrays(task.net)
        change: Arrays = {name: np.zeros_like(tensor) for name, tensor in common.items()}
        for name in names:
            gradient = (received[name] - arrays[name]) / hooks.path_length
            change[name] = np.asarray(gradient - common[name], common[name].dtype)
        task.state.save(_STATE_NAME, {name: np.asarray(own[name] + change[name]) for name in names})
        return TrainResult(arrays, {TRAIN_LOSS: loss}, {CONTROL: change})


def _check_control(control: Tensors, model: Tensors) -> Tensors:
    """Return the control variate if it fits the model."""
    if any(name not in model or np.shape(tensor) != np.shape(model[name]) for name, tensor in control.items()):
        what = "the received control variate does not fit the model."
        raise ExchangeError("CONTROL-MISMATCH", what, "Server and sites must run the same study and the same version of medfl.")
    return control
