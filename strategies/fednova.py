"""FedNova: updates are divided by the steps behind them, so that a hospital with long rounds does not pull harder."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

from medfl.errors import ExchangeError
from medfl.records import TRAIN_STEPS, array_views
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.replies import Reply
from medfl.updates import Tensor


class FedNova(FedAvg):
    """Normalised averaging (Wang et al. 2020, https://arxiv.org/abs/2007.07481, equations 6 and 9).

    With weights p_i and a_i, the length of the way of site i along a gradient of 1,

        x <- x + tau * sum of p_i (x_i - x) / a_i,    tau = sum of p_i a_i.

    For plain SGD a_i is the number of steps; with momentum m it is the paper's ``(steps - m (1 - m^steps) / (1 - m)) / (1 -
    m)``, and with Nesterov's ``steps + m`` times that. An optimiser that scales its steps, as Adam, has no such number: the
    number of steps is taken, and the proof is lost. When all sites take the same number of steps it is FedAvg.

    Parameters
    ----------
    steps_key : str
        Metric of a training reply that holds its number of steps.
    momentum : float
        Of the sites' SGD; 0 for plain SGD and for Adam.
    nesterov : bool
        Whether the momentum is Nesterov's, as at medfl's sites.
    **options
        As for `FedAvg`.
    """

    def __init__(self, *, steps_key: str = TRAIN_STEPS, momentum: float = 0.0, nesterov: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.steps_key, self.momentum, self.nesterov = steps_key, momentum, nesterov

    def _begin(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        self._way = Fraction(0)
        super()._begin(sent)

    def _take(self, reply: Reply) -> None:
        steps = reply.metrics.get(self.steps_key)
        if not isinstance(steps, int | float) or not 1 <= steps < 2**40:
            raise ExchangeError("STEPS-MISSING", f"the metric {self.steps_key!r} of the reply is no number of steps.")
        way = self._length(steps)
        arrays = {name: self._shortened(name, x, way) for name, x in reply.arrays.items() if name in self._sent}
        super()._take(Reply(reply.site, {**reply.arrays, **arrays}, reply.weight))
        self._way += Fraction(reply.weight) * Fraction(way)

    def _finish(self) -> ArrayRecord:
        tau = float(self._way) / self._mean.weight
        model = ArrayRecord()
        for name, mean in self._mean.results(drain=True):
            model[name] = Array(self._lengthened(name, mean, tau))
        del self._mean, self._sent
        return model

    def _length(self, steps: float) -> float:
        m = self.momentum
        heavy_ball = (steps - m * (1.0 - m**steps) / (1.0 - m)) / (1.0 - m)
        return float(steps + m * heavy_ball if self.nesterov else heavy_ball)

    def _shortened(self, name: str, came: Tensor, way: float) -> Tensor:
        sent = self._sent[name]
        if came.dtype.kind != "f" or came.shape != sent.shape:
            return came  # a wrong shape is refused by the mean
        return np.asarray(sent + (came - sent) / came.dtype.type(way))

    def _lengthened(self, name: str, mean: Tensor, tau: float) -> Tensor:
        if mean.dtype.kind != "f":
            return mean
        sent = self._sent[name]
        return np.asarray(sent + (mean - sent) * mean.dtype.type(tau))
