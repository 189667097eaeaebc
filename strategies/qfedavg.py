"""q-FedAvg: hospitals that the model serves badly weigh more."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

from medfl.aggregate import distance
from medfl.errors import ExchangeError
from medfl.records import TRAIN_LOSS_BEFORE, array_views
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.replies import Reply

_LEAST_LOSS = 1e-10  # of a perfect site: its weight is then small, and still one


class QFedAvg(FedAvg):
    """q-fair federated averaging (Li et al. 2020, https://arxiv.org/abs/1905.10497, Algorithm 2), as Flower's class.

    With F_k the loss of the received model on the training images of site k and ``d_k = L (x - x_k)``,

        x <- x - (sum of F_k^q d_k) / (sum of q F_k^(q-1) |d_k|^2 + L F_k^q).

    All sites count alike but for their loss; the norm is over floating-point tensors.

    Parameters
    ----------
    q : float
        0 is FedAvg with equal weights.
    lipschitz : float
        The paper's L; 0 for its estimate, one over the learning rate of the sites.
    learning_rate : float
        Of the sites.
    loss_key : str
        Metric of a training reply that holds F_k.
    **options
        As for `FedAvg`.
    """

    def __init__(
        self,
        *,
        q: float = 0.2,
        lipschitz: float = 0.0,
        learning_rate: float = 0.1,
        loss_key: str = TRAIN_LOSS_BEFORE,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.q, self.lipschitz, self.loss_key = q, lipschitz or 1.0 / learning_rate, loss_key

    def _begin(self, sent: ArrayRecord) -> None:
        self._sent = array_views(sent)
        self._curvature = Fraction(0)
        super()._begin(sent)

    def _take(self, reply: Reply) -> None:
        loss = reply.metrics.get(self.loss_key)
        if not isinstance(loss, int | float) or not 0 <= loss < math.inf:
            raise ExchangeError("LOSS-MISSING", f"the metric {self.loss_key!r} of the reply is no loss.")
        loss = max(float(loss), _LEAST_LOSS)
        power = loss**self.q
        super()._take(Reply(reply.site, reply.arrays, power))
        squared = (self.lipschitz * distance(reply.arrays, self._sent)) ** 2
        self._curvature += Fraction(self.q * loss ** (self.q - 1.0) * squared + self.lipschitz * power)

    def _finish(self) -> ArrayRecord:
        share = self.lipschitz * self._mean.weight / float(self._curvature)  # of the way to the mean weighted by F_k^q
        model = ArrayRecord()
        for name, mean in self._mean.results(drain=True):
            sent = self._sent[name]
            is_float = mean.dtype.kind == "f"
            model[name] = Array(np.asarray(sent + (mean - sent) * mean.dtype.type(share)) if is_float else mean)
        del self._mean, self._sent
        return model
