"""Ditto at the hospital: a model of its own beside the global one, on a spring to it."""

from __future__ import annotations

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.networks.tensors import ProximalTerm, to_parameters
from medfl.clients.training.batches import count_steps
from medfl.clients.training.loop import train_steps
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages.models import Tensors
from medfl.messages.records import TRAIN_STEPS

_STATE_NAME = "ditto"


class DittoClient(ClientAlgorithm):
    """Ditto (Li et al. 2021, https://arxiv.org/abs/2012.04221, Algorithm 1 and equation 2).

    The global model is FedAvg's, to the last bit. Then the site's own model v, in its first round the received one, takes as
    many steps along ``gradient + strength * (v - w)``, where w is the model as it came. It lies in the site's state.

    Parameters
    ----------
    strength : float
        The paper's lambda; with 0 the site trains v alone.
    """

    def __init__(self, strength: float = 0.1) -> None:
        self._strength = strength

    def train(self, work: TrainTask) -> TrainResult:
        """Train the global model, then the site's own."""
        own, net = self.personal_model(work), work.net
        update = super().train(work)
        load_arrays(net, own)
        train_steps(work, net, ProximalTerm(self._strength, to_parameters(net, work.received)), phase=1)
        trained = get_arrays(net)
        work.require_state().save(_STATE_NAME, trained)
        steps = 2 * count_steps(work.study, len(work.prepared.get_split("train")))
        return TrainResult(update.arrays, {**update.metrics, TRAIN_STEPS: steps})

    def personal_model(self, work: TrainTask) -> Tensors:
        """Return v."""
        return work.require_state().load(_STATE_NAME) or work.received
