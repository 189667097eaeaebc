"""FedAdagrad: the Adagrad optimizer at the server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfl.messages.models import Tensor
from medfl.strategies.base.server_optimizer import ServerOptimizer


@dataclass(eq=False, kw_only=True)
class FedAdagrad(ServerOptimizer):
    """Adagrad at the server (Reddi et al. 2021, https://arxiv.org/abs/2003.00295, Algorithm 2), as Flower's class.

    Parameters
    ----------
    eta : float
        Learning rate of the server.
    eta_l : float
        The paper's learning rate of the sites; it has no effect here, as in Flower's class.
    tau : float
        Added to the root of the sum of squares.

    Further keywords are those of `FedAvg`.
    """

    eta: float = 0.1
    eta_l: float = 0.1
    tau: float = 1e-3

    def compute_step(self, name: str, change: Tensor) -> Tensor:
        squares = self.get_moment("squares", name, change) + change**2
        self.set_moment("squares", name, squares)
        return np.asarray(self.eta * change / (np.sqrt(squares) + self.tau))
