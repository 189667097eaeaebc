"""FedAdagrad: the Adagrad optimizer at the server."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfl.messages.models import Tensor
from medfl.strategies.base.server_optimizer import ServerOptimizer


class FedAdagrad(ServerOptimizer):
    """Adagrad at the server (Reddi et al. 2021, https://arxiv.org/abs/2003.00295, Algorithm 2), as Flower's class.

    Parameters
    ----------
    server_learning_rate : float
        The paper's eta.
    tau : float
        Added to the root of the sum of squares.
    **options
        As for `FedAvg`.
    """

    def __init__(self, *, server_learning_rate: float = 0.01, tau: float = 1e-3, **options: Any) -> None:
        super().__init__(**options)
        self.server_learning_rate, self.tau = server_learning_rate, tau

    def compute_step(self, name: str, change: Tensor) -> Tensor:
        squares = self.get_moment("squares", name, change) + change**2
        self.set_moment("squares", name, squares)
        return np.asarray(self.server_learning_rate * change / (np.sqrt(squares) + self.tau))
