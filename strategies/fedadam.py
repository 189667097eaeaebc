"""FedAdam: the Adam optimizer at the server."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from medfl.messages.models import Tensor
from medfl.strategies.base.server_optimizer import ServerOptimizer


@dataclass(eq=False, kw_only=True)
class FedAdam(ServerOptimizer):
    """Adam at the server (Reddi et al. 2021, https://arxiv.org/abs/2003.00295, Algorithm 2).

    The same as Flower's class, including its correction of the learning rate in the first rounds (Kingma and Ba 2015, section
    2), which the paper leaves out.

    Parameters
    ----------
    eta : float
        Learning rate of the server.
    eta_l : float
        The paper's learning rate of the sites; it has no effect here, as in Flower's class.
    beta_1, beta_2 : float
        Decay of the moments, from 0 to below 1.
    tau : float
        Added to the root of the second moment; the smaller, the more adaptive.

    Further keywords are those of `FedAvg`.
    """

    eta: float = 0.1
    eta_l: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3

    def compute_step(self, name: str, change: Tensor) -> Tensor:
        first = self.beta_1 * self.get_moment("first", name, change) + (1.0 - self.beta_1) * change
        second = self._second_moment(self.get_moment("second", name, change), change)
        self.set_moment("first", name, first)
        self.set_moment("second", name, second)
        return np.asarray(self._learning_rate() * first / (np.sqrt(second) + self.tau))

    def _second_moment(self, before: Tensor, change: Tensor) -> Tensor:
        """Return the second moment after a round, given the one before it."""
        return np.asarray(self.beta_2 * before + (1.0 - self.beta_2) * change**2)

    def _learning_rate(self) -> float:
        """Return the learning rate of this round."""
        steps = self.server_round + 1.0  # as Flower counts
        return float(self.eta * math.sqrt(1.0 - self.beta_2**steps) / (1.0 - self.beta_1**steps))
