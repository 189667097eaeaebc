"""FedNova: updates are divided by the steps behind them, so that a hospital with long rounds does not pull harder."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

from flwr.app import ArrayRecord

from medfl.errors import ExchangeError
from medfl.messages.models import Tensor, interpolate
from medfl.messages.records import TRAIN_STEPS, array_views
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.reply import Reply

_SCALE = 2.0**8  # of the weights, so that one patient may stand for 2**18 steps before the mean refuses so small a weight


class FedNova(FedAvg):
    """Normalised averaging (Wang et al. 2020, https://arxiv.org/abs/2007.07481, equations 6 and 9).

    With weights p_i and a_i, the length of the way of site i along a gradient of 1,

        x <- x + tau * sum of p_i (x_i - x) / a_i,    tau = sum of p_i a_i.

    For plain SGD a_i is the number of steps; with momentum m it is the paper's ``(steps - m (1 - m^steps) / (1 - m)) / (1 -
    m)``, and with Nesterov's ``steps + m`` times that. An optimizer that scales its steps, as Adam, has no such number: the
    number of steps is taken, and the proof is lost. When all sites take the same number of steps it is FedAvg.

    Computed as a step of ``tau * sum of p_i / a_i``, which is 1 or more, towards the mean with the weights ``p_i / a_i``.

    Parameters
    ----------
    steps_key : str
        Metric of a training reply that holds its number of steps.
    momentum : float
        Of the sites' SGD, from 0 to below 1; 0 for plain SGD and for Adam.
    nesterov : bool
        Whether the momentum is Nesterov's, as at medfl's sites.
    **options
        As for `FedAvg`.
    """

    def __init__(self, *, steps_key: str = TRAIN_STEPS, momentum: float = 0.0, nesterov: bool = True, **options: Any) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, came {momentum}")
        super().__init__(**options)
        self.steps_key, self.momentum, self.nesterov = steps_key, momentum, nesterov

    def begin_round(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        self._weight = self._weighted_steps = Fraction(0)  # sums of the weights, and of weights times ways
        super().begin_round(sent)

    def add_reply(self, reply: Reply) -> None:
        steps = reply.metrics.get(self.steps_key)
        if not isinstance(steps, int | float) or not 1 <= steps < 2**40:
            raise ExchangeError("STEPS-MISSING", f"the metric {self.steps_key!r} of the reply is no number of steps.")
        way = self._effective_steps(steps)
        super().add_reply(dataclasses.replace(reply, weight=_SCALE * reply.weight / way))
        self._weight += Fraction(reply.weight)
        self._weighted_steps += Fraction(reply.weight) * Fraction(way)

    def finish_round(self) -> ArrayRecord:
        tau = float(self._weighted_steps / self._weight)
        self._share = tau * self._mean.weight / _SCALE / float(self._weight)
        model = super().finish_round()
        del self._sent
        return model

    def new_tensor(self, name: str, mean: Tensor) -> Tensor:
        return interpolate(self._sent[name], mean, self._share)

    def _effective_steps(self, steps: float) -> float:
        m = self.momentum
        heavy_ball = (steps - m * (1.0 - m**steps) / (1.0 - m)) / (1.0 - m)
        return float(steps + m * heavy_ball if self.nesterov else heavy_ball)
