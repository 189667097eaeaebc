"""FedProx at the client: a proximal term keeps the model near the received one."""

from __future__ import annotations

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.proximal_term import ProximalTerm
from medfl.clients.networks.tensors import to_parameters
from medfl.clients.training.local_layers import shared_model
from medfl.clients.training.task import StepHooks, TrainTask


class FedProxClient(ClientAlgorithm):
    """FedProx (Li et al. 2020, https://arxiv.org/abs/1812.06127, Algorithm 2).

    Site k minimises, from the received model w_t (equation 2 of the paper),

        h_k(w; w_t) = F_k(w) + mu / 2 * |w - w_t|^2.

    What differs from the paper: the accuracy gamma to which a site solves this is not chosen per site; every site takes the
    study's number of local steps, with the study's optimizer. The term acts on parameters alone, as running statistics have no
    gradient, and not on layers that stay at the site.

    Parameters
    ----------
    mu : float
        Weight of the proximal term; with 0, training is FedAvg's to the last bit.
    """

    def __init__(self, mu: float = 0.01) -> None:
        self._mu = mu

    def step_hooks(self, task: TrainTask) -> StepHooks:
        """Return the proximal term."""
        return ProximalTerm(self._mu, to_parameters(task.net, shared_model(task)))
