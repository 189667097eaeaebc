"""FedAvgM: momentum at the server."""

from __future__ import annotations

from typing import Any

from medfl.messages.models import Tensor
from medfl.strategies.base.server_optimizer import ServerOptimizer


class FedAvgM(ServerOptimizer):
    """Federated averaging with momentum at the server (Hsu et al. 2019, https://arxiv.org/abs/1909.06335, section 4.3).

    The same as Flower's class: ``v <- momentum * v + change``, then ``x <- x + server_learning_rate * v``. Flower goes on from
    the model that it made itself, this class from the model that it is given.

    Parameters
    ----------
    server_learning_rate : float
        Step along the velocity; with 1, and without momentum, it is FedAvg.
    momentum : float
        Share of the velocity that is kept from round to round, from 0 to below 1.
    **options
        As for `FedAvg`.
    """

    def __init__(self, *, server_learning_rate: float = 1.0, momentum: float = 0.9, **options: Any) -> None:
        super().__init__(**options)
        self.server_learning_rate, self.momentum = server_learning_rate, momentum

    def compute_step(self, name: str, change: Tensor) -> Tensor:
        velocity = self.momentum * self.get_moment("velocity", name, change) + change
        self.set_moment("velocity", name, velocity)
        return self.server_learning_rate * velocity
