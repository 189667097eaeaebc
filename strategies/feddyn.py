"""FedDyn: a regulariser that changes from round to round makes the sites' optima and the common one meet."""

from __future__ import annotations

from typing import Any

import numpy as np
from flwr.app import ArrayRecord

from medfl.messages.records import array_views, to_array
from medfl.strategies.base.client_state_mean import ClientStateMean


class FedDyn(ClientStateMean):
    """FedDyn (Acar et al. 2021, https://arxiv.org/abs/2111.04263, Algorithm 1).

    Site k goes down on ``L_k(w) - <g_k, w> + alpha / 2 * |w - w_t|^2`` and then sets ``g_k <- g_k - alpha * (w_k - w_t)``
    (the client algorithm of this name); the server keeps ``h <- h - alpha / m * (sum over the sampled sites of w_k - w_t)``
    with m sites in the federation, and sends ``mean(w_k) - h / alpha``.

    All that is kept is a multiple of alpha, so here the drift is kept instead: d_k = -g_k / alpha, the sum of all that site k
    ever changed, and its mean d = -h / alpha. Then the model is ``mean(w_k) + d``, the regulariser is a spring to w_t - d_k,
    and the server needs alpha for nothing.

    The paper's means are even and so are its proofs; ``weighted_by=""`` is that. With weights both means are weighted, and the
    point where nothing moves any more is the optimum of the weighted objective; how fast it is reached is then not proven. The
    paper solves each site's problem exactly; some steps of it have the same fixed point. All floating-point tensors are taken
    for parameters, so running statistics (BatchNorm) should stay at the sites. The server learns the drift from the models as
    they arrive: a lossy codec on the way leaves d a little beside the mean of the d_k.

    Parameters
    ----------
    alpha : float
        Strength of the regulariser, used by the sites alone.
    **options
        As for `FedAvg`.
    """

    def __init__(self, *, alpha: float = 0.01, **options: Any) -> None:
        super().__init__(**options)
        self.alpha = alpha

    def begin_round(self, sent: ArrayRecord) -> None:
        super().begin_round(sent)
        self._sent = array_views(sent)

    def finish_round(self) -> ArrayRecord:
        means = {name: array.numpy() for name, array in super().finish_round().items()}
        self.add_mean_change({name: mean - self._sent[name] for name, mean in means.items() if mean.dtype.kind == "f"})
        del self._sent
        drift = self.mean_client_state()
        model = ArrayRecord()
        for name, mean in means.items():
            model[name] = to_array(np.asarray(mean + drift[name], mean.dtype) if name in drift else mean)
        return model
