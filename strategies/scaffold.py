"""SCAFFOLD: control variates remove the drift of every site."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from flwr.app import ArrayRecord

from medfl.errors import ExchangeError
from medfl.messages.models import interpolate
from medfl.messages.records import CONTROL, array_views, to_array, to_array_record
from medfl.strategies.base.client_state_mean import ClientStateMean, sum_dtype
from medfl.strategies.base.reply import Reply

_PREFIX = f"{CONTROL}/"


@dataclass(eq=False, kw_only=True)
class Scaffold(ClientStateMean):
    """SCAFFOLD (Karimireddy et al. 2020, https://arxiv.org/abs/1910.06378, Algorithm 1, option II).

    Every site i keeps a control variate c_i, an estimate of its own gradient, and the server their mean c. The sites step along
    ``gradient - c_i + c`` (`medfl.clients.algorithms.scaffold`), and the server then moves by

        x <- x + server_learning_rate * mean(y_i - x),    c <- c + |S| / N * mean(change of c_i).

    The paper and its proofs use equal weights: ``weighted_by_key=""``. With other weights both means are weighted, and the
    fixed point is the optimum of the weighted objective; the speed of convergence is then not proven. Buffers (running
    statistics) have no control variate and are averaged. The control variate travels with the model, as the record ``control``,
    in the model's types or float32 if they are narrower; a site sends its change. A reply without it is left out.

    Parameters
    ----------
    server_learning_rate : float
        The paper's global step size; with 1 the first round is FedAvg's, to the last bit.

    Further keywords are those of `FedAvg`.
    """

    distinguishes_buffers: ClassVar[bool] = True

    server_learning_rate: float = 1.0

    def extra_records(self, arrays: ArrayRecord) -> dict[str, ArrayRecord]:
        parameters = {name: x for name, x in array_views(arrays).items() if x.dtype.kind == "f" and name not in self.buffers}
        control = self.mean_client_state() or {name: np.zeros(x.shape, sum_dtype(x)) for name, x in parameters.items()}
        return {CONTROL: to_array_record(control)}

    def begin_round(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        control = {_PREFIX + name: array for name, array in self.extra_records(sent)[CONTROL].items()}
        super().begin_round(ArrayRecord({**sent, **control}))  # one sum for both, so that a reply counts whole or not at all

    def add_reply(self, reply: Reply) -> None:
        if CONTROL not in reply.records:
            raise ExchangeError(
                "CONTROL-MISSING",
                "the reply holds no change of a control variate.",
                "Its site must run SCAFFOLD's client algorithm.",
            )
        change = {_PREFIX + name: x for name, x in array_views(reply.records[CONTROL]).items()}
        super().add_reply(dataclasses.replace(reply, arrays={**reply.arrays, **change}))

    def finish_round(self) -> ArrayRecord:
        model, changes = ArrayRecord(), {}
        for name, array in self._mean.results(drain=True):
            if name.startswith(_PREFIX):
                changes[name.removeprefix(_PREFIX)] = array
            else:
                share = 1.0 if name in self.buffers else self.server_learning_rate
                model[name] = to_array(interpolate(self._sent[name], array, share))
        del self._mean, self._sent
        self.add_mean_change(changes)
        return model
