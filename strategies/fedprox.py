"""FedProx: a proximal term, like a spring, keeps every site near the model that it received."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from medfl.messages.records import PROXIMAL_MU
from medfl.strategies.fedavg import FedAvg


@dataclass(eq=False)
class FedProx(FedAvg):
    """FedProx (Li et al. 2020, https://arxiv.org/abs/1812.06127, Algorithm 2).

    The server averages as `FedAvg` does; the difference is at the sites, which add ``mu / 2 * |w - w_t|^2`` to their loss (the
    client algorithm). Like Flower's class of this name it sends them mu, as ``proximal-mu`` in the configuration, so clients
    that were written for Flower's class work here too. The paper samples sites by size and averages them with equal weights;
    here, as in Flower, all sites are sampled alike and weighted by size, which is the same on average.

    Parameters
    ----------
    proximal_mu : float
        The paper's mu, the strength of the proximal term; 0 is FedAvg.

    Further keywords are those of `FedAvg`.
    """

    proximal_mu: float = 0.0

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Choose the sites of a training round and build their messages, with mu in them."""
        return super().configure_train(server_round, arrays, ConfigRecord({**config, PROXIMAL_MU: self.proximal_mu}), grid)
