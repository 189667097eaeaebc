"""Ditto at the client: a personal model is trained besides the global one, with a proximal term to it."""

from __future__ import annotations

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.proximal_term import ProximalTerm
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.networks.tensors import to_parameters
from medfl.clients.training.batches import count_steps
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_STEPS

_STATE_NAME = "ditto"


class DittoClient(ClientAlgorithm):
    """Ditto (Li et al. 2021, https://arxiv.org/abs/2012.04221, Algorithm 1).

    The global model w is trained as in FedAvg, to the last bit. Then the personal model v_k takes the same number of steps on
    the objective of the paper's equation 2,

        h_k(v_k; w_t) = F_k(v_k) + lambda / 2 * |v_k - w_t|^2,

    where w_t is the model as it was received. In the site's first round v_k starts as w_t; between rounds it is kept in the
    site's state. A round takes twice the steps of FedAvg.

    What differs from the paper: nothing but the optimizer, which is the study's for both models.

    Parameters
    ----------
    strength : float
        The paper's lambda; with 0 the site trains v_k alone.
    """

    def __init__(self, strength: float = 0.1) -> None:
        self._strength = strength

    def train(self, task: TrainTask) -> TrainResult:
        """Train the global model, then the personal one."""
        personal, net = self.personal_model(task), task.net
        result = super().train(task)
        load_arrays(net, personal)
        train_steps(task, net, ProximalTerm(self._strength, to_parameters(net, task.received)), phase=1)
        task.state.save(_STATE_NAME, get_arrays(net))
        steps = 2 * count_steps(task.study, len(task.prepared.get_split("train")))
        return TrainResult(result.arrays, {**result.metrics, TRAIN_STEPS: steps})

    def personal_model(self, task: TrainTask) -> Tensors:
        """Return v_k."""
        return task.state.load(_STATE_NAME) or task.received
