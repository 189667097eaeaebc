"""FedAvgM: momentum at the server."""

from __future__ import annotations

from dataclasses import dataclass

from medfl.messages.models import Tensor
from medfl.strategies.base.server_optimizer import ServerOptimizer


@dataclass(eq=False)
class FedAvgM(ServerOptimizer):
    """Federated averaging with momentum at the server (Hsu et al. 2019, https://arxiv.org/abs/1909.06335, section 4.3).

    The same as Flower's class: ``v <- server_momentum * v + change``, then ``x <- x + server_learning_rate * v``. Flower goes
    on from the model that it made itself, this class from the model that it is given.

    Parameters
    ----------
    server_learning_rate : float
        Step along the velocity; with 1, and without momentum, it is FedAvg.
    server_momentum : float
        Share of the velocity that is kept from round to round, from 0 to below 1.

    Further keywords are those of `FedAvg`.
    """

    server_learning_rate: float = 1.0
    server_momentum: float = 0.0

    def compute_step(self, name: str, change: Tensor) -> Tensor:
        velocity = self.server_momentum * self.get_moment("velocity", name, change) + change
        self.set_moment("velocity", name, velocity)
        return self.server_learning_rate * velocity
