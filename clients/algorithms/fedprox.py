"""FedProx at the hospital: a spring holds the model near the one that came."""

from __future__ import annotations

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.tensors import ProximalTerm, shared_model, to_parameters
from medfl.clients.training.task import StepHooks, TrainTask


class FedProxClient(ClientAlgorithm):
    """FedProx (Li et al. 2020, https://arxiv.org/abs/1812.06127, Algorithm 2): ``mu / 2 * |w - w_t|^2`` more in the loss.

    The pull acts in every step and on parameters only, as running statistics have no gradient; layers that stay at the site are
    free. The inexactness of the paper is the study's number of local steps.

    Parameters
    ----------
    mu : float
        Strength of the spring; with 0 training is FedAvg's, to the last bit.
    """

    def __init__(self, mu: float = 0.01) -> None:
        self._mu = mu

    def step_hooks(self, work: TrainTask) -> StepHooks:
        """Return the spring to the received model."""
        return ProximalTerm(self._mu, to_parameters(work.net, shared_model(work)))
