"""FedDyn at the client: a dynamic regulariser, a proximal term whose anchor moves against the site's drift so far."""

from __future__ import annotations

import numpy as np

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.proximal_term import ProximalTerm
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.tensors import to_parameters, trainable
from medfl.clients.training.local_layers import shared_model
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.records import COUNTED, ROUND, TRAIN_LOSS

_STATE_NAME = "feddyn"


class FedDynClient(ClientAlgorithm):
    """FedDyn (Acar et al. 2021, https://arxiv.org/abs/2111.04263, Algorithm 1).

    With the received model w_t and a gradient g_k that starts at 0, site k minimises, and then updates,

        F_k(w) - <g_k, w> + alpha / 2 * |w - w_t|^2,        g_k <- g_k - alpha * (w_k - w_t).

    The site keeps its drift d_k = -g_k / alpha, the sum of all its changes w_k - w_t in rounds that counted. Up to a constant,
    the two terms are a proximal term to another anchor, which is how they are computed:

        alpha / 2 * |w - (w_t - d_k)|^2.

    What differs from the paper: the minimum is approached by the study's optimizer in the study's number of steps. The paper
    asks for the minimum and not for a way to it, so any optimizer will do. Layers that stay at the site are trained plainly.

    The reply returns the record ``counted``: it says that the regulariser was used, without which the model overshoots.
    The drift is saved under the number of its round, and the site starts from the drift of the round that the server says it
    counted last; see `medfl.clients.algorithms.scaffold.ScaffoldClient` for the reason.

    Parameters
    ----------
    alpha : float
        Weight of the regulariser.
    """

    def __init__(self, alpha: float = 0.01) -> None:
        self._alpha = alpha

    def train(self, task: TrainTask) -> TrainResult:
        """Train with the regulariser, and add this round's change to the drift."""
        received = shared_model(task)
        start = {name: received[name] for name in trainable(task.net) if name in received}
        counted = {ROUND: np.array(int(task.server_record(COUNTED)[ROUND]))}  # anew: the server does not decide what goes back
        saved = task.state.load_last_counted(_STATE_NAME, counted)
        drift = {name: saved.get(name, np.zeros_like(tensor)) for name, tensor in start.items()}
        anchor = to_parameters(task.net, {name: start[name] - drift[name] for name in start})
        loss = train_steps(task, task.net, ProximalTerm(self._alpha, anchor))
        arrays = get_arrays(task.net)
        task.state.save(_STATE_NAME, {name: np.asarray(drift[name] + arrays[name] - start[name]) for name in start})
        return TrainResult(arrays, {TRAIN_LOSS: loss}, {COUNTED: counted})
