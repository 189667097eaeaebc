"""FedDyn at the hospital: a spring whose anchor moves against all that the site has drifted so far."""

from __future__ import annotations

import numpy as np

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.tensors import ProximalTerm, shared_model, state_last_counted, to_parameters, trainable
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.records import TRAIN_LOSS

_STATE_NAME = "feddyn"


class FedDynClient(ClientAlgorithm):
    """FedDyn (Acar et al. 2021, https://arxiv.org/abs/2111.04263, Algorithm 1).

    The loss gets ``-<g_k, w> + alpha / 2 * |w - w_t|^2``, and then ``g_k <- g_k - alpha * (w_k - w_t)``. What is kept is the
    drift d_k = -g_k / alpha, the sum of all changes that the site ever made in replies that counted; the two terms together
    are, but for a constant, a spring of strength alpha to w_t - d_k. Any optimizer will do: the paper asks for the minimum,
    not for a way to it. Layers that stay at the site train plainly.

    The drift goes to the site's disk under this round. The next time the site starts from the drift of the round that the
    server says it counted last: see `medfl.clients.algorithms.scaffold`, where the same holds of the control variate.

    Parameters
    ----------
    alpha : float
        Strength of the spring.
    """

    def __init__(self, alpha: float = 0.01) -> None:
        self._alpha = alpha

    def train(self, work: TrainTask) -> TrainResult:
        """Train on the moved spring, and add this round's change to the drift."""
        received = shared_model(work)
        start = {name: received[name] for name in trainable(work.net) if name in received}
        kept = state_last_counted(work, _STATE_NAME)
        drift = {name: kept.get(name, np.zeros_like(tensor)) for name, tensor in start.items()}
        anchor = to_parameters(work.net, {name: start[name] - drift[name] for name in start})
        loss = train_steps(work, work.net, ProximalTerm(self._alpha, anchor))
        arrays = get_arrays(work.net)
        work.require_state().save(_STATE_NAME, {name: np.asarray(drift[name] + arrays[name] - start[name]) for name in start})
        return TrainResult(arrays, {TRAIN_LOSS: loss})
