"""q-FedAvg: sites for which the model works badly get more weight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from flwr.app import ArrayRecord
from flwr.serverapp import strategy as flower

from medfl.aggregate import DiskReplies, combine
from medfl.messages.models import Tensor, interpolate
from medfl.strategies.base.argument_order import in_order_of
from medfl.strategies.base.disk_strategy import DiskStrategy
from medfl.strategies.base.reply import Reply, read_loss, update_norm

_MIN_LOSS = 1e-10  # for a site with a loss of 0, whose weight must not be 0


@in_order_of(flower.QFedAvg)
@dataclass(eq=False)
class QFedAvg(DiskStrategy):
    """q-fair federated averaging (Li et al. 2020, https://arxiv.org/abs/1905.10497, Algorithm 2), as Flower's class.

    With F_k as the loss of the received model on the training images of site k and ``d_k = L (x - x_k)``,

        x <- x - (sum of F_k^q d_k) / (sum of q F_k^(q-1) |d_k|^2 + L F_k^q).

    Sites differ in weight by their loss alone; the norm is over the parameters, and buffers (running statistics) are the mean
    of the replies, weighted by F_k^q. Losses are divided by the largest one of the round, so that no power of them is out of
    range; replies wait on disk until it is known.

    Parameters
    ----------
    client_learning_rate : float
        Learning rate of the sites, above 0.
    q : float
        Strength of the preference for large losses; 0 is FedAvg with equal weights.
    train_loss_key : str
        Metric of a training reply that holds F_k.
    lipschitz : float
        The paper's L; 0 for the paper's estimate, one over the learning rate of the sites.

    Further keywords are those of `FedAvg`.
    """

    distinguishes_buffers: ClassVar[bool] = True

    client_learning_rate: float = field(kw_only=True)
    q: float = 0.1
    train_loss_key: str = "train_loss"
    lipschitz: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.lipschitz = self.lipschitz or 1.0 / self.client_learning_rate

    def begin_round(self, sent: ArrayRecord) -> None:
        self._losses: dict[str, float] = {}
        self._update_norms: dict[str, float] = {}
        super().begin_round(sent)

    def add_reply(self, reply: Reply) -> None:
        loss, norm = read_loss(reply, self.train_loss_key), update_norm(reply)
        super().add_reply(reply)
        self._losses[reply.site], self._update_norms[reply.site] = max(loss, _MIN_LOSS), norm

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        largest = max(self._losses.values())
        powers = {site: (self._losses[site] / largest) ** self.q for site in replies.sites}
        total = sum(powers.values())
        curvature = sum(
            self.q * powers[site] / self._losses[site] * self.lipschitz * self._update_norms[site] ** 2 for site in powers
        )
        share = total / (total + curvature)  # how far to go towards the mean weighted by F_k^q
        mean = combine(replies, {site: power / total for site, power in powers.items()})
        return {
            name: tensor if name in self.buffers else interpolate(replies.reference[name], tensor, share)
            for name, tensor in mean.items()
        }
