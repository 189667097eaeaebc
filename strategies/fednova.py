"""FedNova: every update is divided by the number of its steps, so that a site with long rounds has no more influence."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from flwr.app import ArrayRecord

from medfl.aggregate import ExactMean, short_weight
from medfl.errors import ExchangeError
from medfl.messages.models import Tensor, check_finite, check_layout, check_weight, interpolate, layout_of
from medfl.messages.records import TRAIN_STEPS, array_views, to_array
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedavg import FedAvg

_SCALE = 2.0**8  # of the weights: one patient may have 2**18 steps before the mean refuses its weight as too small


@dataclass(eq=False, kw_only=True)
class FedNova(FedAvg):
    """Normalised averaging (Wang et al. 2020, https://arxiv.org/abs/2007.07481, equations 6 and 9).

    With weights p_i, and a_i the distance that site i would move along a constant gradient of 1 at a learning rate of 1,

        x <- x + tau * sum of p_i (x_i - x) / a_i,    tau = sum of p_i a_i.

    For plain SGD a_i is the number of steps. With momentum m it is the paper's

        a_i = (steps - m (1 - m^steps) / (1 - m)) / (1 - m),

    and with Nesterov momentum it is ``steps + m a_i``, with that a_i. An optimizer that scales its steps, such as Adam, has no
    such number: the number of steps is used, and the proof does not apply. When all sites take the same number of steps, the
    result is that of FedAvg, but for weights that are rounded to 29 bits.

    Computed as a step of ``tau * sum of p_i / a_i``, which is at least 1, towards the mean with the weights ``p_i / a_i``.
    Buffers (running statistics) are the mean with the weights p_i, exact whatever `mean` says.

    Parameters
    ----------
    steps_key : str
        Metric of a training reply that holds its number of steps.
    momentum : float
        Momentum of the sites' SGD, from 0 to below 1; 0 for plain SGD and for Adam.
    nesterov : bool
        Whether it is Nesterov momentum, as at medfl's sites.

    Further keywords are those of `FedAvg`.
    """

    distinguishes_buffers: ClassVar[bool] = True
    goes_beyond_mean: ClassVar[bool] = True

    steps_key: str = TRAIN_STEPS
    momentum: float = 0.0
    nesterov: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, came {self.momentum}")
        super().__post_init__()

    def begin_round(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        self._power_sums = [Fraction(0)] * 3  # of p_i / a_i, p_i and p_i a_i, all times one number
        self._buffer_mean = ExactMean({name: self._sent[name] for name in self.buffers})  # takes whatever is finite
        super().begin_round(ArrayRecord({name: x for name, x in sent.items() if name not in self.buffers}))

    def add_reply(self, reply: Reply) -> None:
        steps = reply.metrics.get(self.steps_key)
        if not isinstance(steps, int | float) or not 1 <= steps < 2**40:
            raise ExchangeError("STEPS-MISSING", f"the metric {self.steps_key!r} of the reply is not a number of steps.")
        effective = self._effective_steps(steps)
        check_weight(reply.weight)
        check_layout(reply.arrays, layout_of(self._sent))
        buffers = {name: reply.arrays[name] for name in self.buffers}
        check_finite(buffers)  # all that could refuse them, so that a reply counts in both means or in none
        parameters = {name: x for name, x in reply.arrays.items() if name not in self.buffers}
        weight = short_weight(_SCALE * reply.weight / effective)  # as the mean counts it, so that equal steps give a share of 1
        super().add_reply(dataclasses.replace(reply, arrays=parameters, weight=weight))
        self._buffer_mean.add(buffers, reply.weight)
        for power in range(3):
            self._power_sums[power] += Fraction(weight) * Fraction(effective) ** power

    def finish_round(self) -> ArrayRecord:
        rates, weights, steps = self._power_sums
        self._share = float(rates * steps / weights**2)
        model = {**super().finish_round(), **{name: to_array(x) for name, x in self._buffer_mean.results()}}
        ordered = ArrayRecord({name: model[name] for name in self._sent})
        del self._sent, self._buffer_mean
        return ordered

    def new_tensor(self, name: str, mean: Tensor) -> Tensor:
        return interpolate(self._sent[name], mean, self._share)

    def _effective_steps(self, steps: float) -> float:
        m = self.momentum
        heavy_ball = (steps - m * (1.0 - m**steps) / (1.0 - m)) / (1.0 - m)
        return float(steps + m * heavy_ball if self.nesterov else heavy_ball)
