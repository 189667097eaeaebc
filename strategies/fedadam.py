"""FedAdam: the Adam optimizer at the server."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medfl.messages.models import Tensor
from medfl.strategies.base.server_optimizer import ServerOptimizer


class FedAdam(ServerOptimizer):
    """Adam at the server (Reddi et al. 2021, https://arxiv.org/abs/2003.00295, Algorithm 2).

    The same as Flower's class, including its correction of the learning rate in the first rounds (Kingma and Ba 2015, section
    2), which the paper leaves out.

    Parameters
    ----------
    server_learning_rate : float
        The paper's eta.
    beta1, beta2 : float
        Decay of the moments, from 0 to below 1.
    tau : float
        Added to the root of the second moment; the smaller, the more adaptive.
    **options
        As for `FedAvg`.
    """

    def __init__(
        self,
        *,
        server_learning_rate: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.99,
        tau: float = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.server_learning_rate, self.beta1, self.beta2, self.tau = server_learning_rate, beta1, beta2, tau

    def compute_step(self, name: str, change: Tensor) -> Tensor:
        first = self.beta1 * self.get_moment("first", name, change) + (1.0 - self.beta1) * change
        second = self._second_moment(self.get_moment("second", name, change), change)
        self.set_moment("first", name, first)
        self.set_moment("second", name, second)
        return np.asarray(self._learning_rate() * first / (np.sqrt(second) + self.tau))

    def _second_moment(self, before: Tensor, change: Tensor) -> Tensor:
        """Return the second moment after a round, given the one before it."""
        return np.asarray(self.beta2 * before + (1.0 - self.beta2) * change**2)

    def _learning_rate(self) -> float:
        """Return the learning rate of this round."""
        steps = self.server_round + 1.0  # as Flower counts
        return float(self.server_learning_rate * math.sqrt(1.0 - self.beta2**steps) / (1.0 - self.beta1**steps))
