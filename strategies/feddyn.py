"""FedDyn: a regulariser that changes from round to round brings the sites' optima and the common one together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from flwr.app import ArrayRecord

from medfl.errors import ExchangeError
from medfl.messages.records import COUNTED, array_views, to_array
from medfl.strategies.base.client_state_mean import ClientStateMean
from medfl.strategies.base.reply import Reply


@dataclass(eq=False, kw_only=True)
class FedDyn(ClientStateMean):
    """FedDyn (Acar et al. 2021, https://arxiv.org/abs/2111.04263, Algorithm 1).

    Site k minimises ``L_k(w) - <g_k, w> + alpha / 2 * |w - w_t|^2`` and then sets ``g_k <- g_k - alpha * (w_k - w_t)`` (the
    client algorithm of this name). With m sites in the federation the server sets ``h <- h - alpha / m * (sum of w_k - w_t over
    the sampled sites)``, and sends ``mean(w_k) - h / alpha``.

    All state is a multiple of alpha, so here the drift is kept instead: d_k = -g_k / alpha, the sum of all updates of site k,
    and its mean d = -h / alpha. Then the model is ``mean(w_k) + d``, the regulariser is a spring to w_t - d_k, and the server
    does not need alpha.

    The paper and its proofs use equal weights: ``weighted_by_key=""``. With other weights both means are weighted, and the
    fixed point is the optimum of the weighted objective; the speed of convergence is then not proven. The paper solves each
    site's problem exactly; a number of steps towards the solution has the same fixed point. Buffers (running statistics) have
    no drift and are averaged. The server computes the drift from the models that arrive: with a lossy codec d differs a little
    from the mean of the d_k.

    Where a site trains without the regulariser the model overshoots. So the reply must hold the record ``counted`` that came
    with the message, as the client algorithm returns it; a reply without it is left out.

    Parameters
    ----------
    alpha : float
        Strength of the regulariser; only the sites use it.

    Further keywords are those of `FedAvg`.
    """

    distinguishes_buffers: ClassVar[bool] = True

    alpha: float = 0.01

    def begin_round(self, sent: ArrayRecord) -> None:
        super().begin_round(sent)
        self._sent = array_views(sent)

    def add_reply(self, reply: Reply) -> None:
        if COUNTED not in reply.records:
            raise ExchangeError(
                "REGULARISER-MISSING",
                f"the reply lacks the record {COUNTED!r}, with which a site says that it trained with FedDyn's regulariser.",
                "Its site must run FedDyn's client algorithm.",
            )
        super().add_reply(reply)

    def finish_round(self) -> ArrayRecord:
        means = {name: array.numpy() for name, array in super().finish_round().items()}
        parameters = [name for name, mean in means.items() if mean.dtype.kind == "f" and name not in self.buffers]
        self.add_mean_change({name: means[name] - self._sent[name] for name in parameters})
        del self._sent
        drift = self.mean_client_state()
        model = ArrayRecord()
        for name, mean in means.items():
            model[name] = to_array(np.asarray(mean + drift[name], mean.dtype) if name in drift else mean)
        return model
