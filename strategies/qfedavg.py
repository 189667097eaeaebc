"""q-FedAvg: sites for which the model works badly get more weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from flwr.app import ArrayRecord

from medfl.aggregate import DiskReplies, MeanName, combine
from medfl.errors import ExchangeError
from medfl.messages.models import Tensor, interpolate
from medfl.messages.records import ARRAYS, CONFIG
from medfl.strategies.base.disk_strategy import DiskStrategy
from medfl.strategies.base.reply import MetricsMean, Reply, update_norm
from medfl.strategies.transforms.reply_transform import ReplyTransform

_MIN_LOSS = 1e-10  # for a site with a loss of 0, whose weight must not be 0


class QFedAvg(DiskStrategy):
    """q-fair federated averaging (Li et al. 2020, https://arxiv.org/abs/1905.10497, Algorithm 2), as Flower's class.

    With F_k as the loss of the received model on the training images of site k and ``d_k = L (x - x_k)``,

        x <- x - (sum of F_k^q d_k) / (sum of q F_k^(q-1) |d_k|^2 + L F_k^q).

    Sites differ in weight by their loss alone; the norm is over floating-point tensors. Losses are divided by the largest one
    of the round, so that no power of them is out of range; replies wait on disk until it is known.

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

    def __init__(
        self,
        client_learning_rate: float,
        q: float = 0.1,
        train_loss_key: str = "train_loss",
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        min_train_nodes: int = 2,
        min_evaluate_nodes: int = 2,
        min_available_nodes: int = 2,
        weighted_by_key: str = "num-examples",
        arrayrecord_key: str = ARRAYS,
        configrecord_key: str = CONFIG,
        train_metrics_aggr_fn: MetricsMean | None = None,
        evaluate_metrics_aggr_fn: MetricsMean | None = None,
        *,
        lipschitz: float = 0.0,
        quorum: int = 1,
        evaluate_weighted_by_key: str | None = None,
        wait: float = 600.0,
        seed: int = 0,
        mean: MeanName = "exact",
        transforms: Sequence[ReplyTransform] = (),
        site_names: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            fraction_train=fraction_train,
            fraction_evaluate=fraction_evaluate,
            min_train_nodes=min_train_nodes,
            min_evaluate_nodes=min_evaluate_nodes,
            min_available_nodes=min_available_nodes,
            weighted_by_key=weighted_by_key,
            arrayrecord_key=arrayrecord_key,
            configrecord_key=configrecord_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn,
            evaluate_metrics_aggr_fn=evaluate_metrics_aggr_fn,
            quorum=quorum,
            evaluate_weighted_by_key=evaluate_weighted_by_key,
            wait=wait,
            seed=seed,
            mean=mean,
            transforms=transforms,
            site_names=site_names,
        )
        self.client_learning_rate, self.q, self.train_loss_key = client_learning_rate, q, train_loss_key
        self.lipschitz = lipschitz or 1.0 / client_learning_rate

    def begin_round(self, sent: ArrayRecord) -> None:
        self._losses: dict[str, float] = {}
        self._update_norms: dict[str, float] = {}
        super().begin_round(sent)

    def add_reply(self, reply: Reply) -> None:
        loss = reply.metrics.get(self.train_loss_key)
        if not isinstance(loss, int | float) or not 0 <= loss < math.inf:
            raise ExchangeError("LOSS-MISSING", f"the metric {self.train_loss_key!r} of the reply is not a loss.")
        norm = update_norm(reply)
        super().add_reply(reply)
        self._losses[reply.site], self._update_norms[reply.site] = max(float(loss), _MIN_LOSS), norm

    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        largest = max(self._losses.values())
        powers = {site: (self._losses[site] / largest) ** self.q for site in replies.sites}
        total = sum(powers.values())
        curvature = sum(
            self.q * powers[site] / self._losses[site] * self.lipschitz * self._update_norms[site] ** 2 for site in powers
        )
        share = total / (total + curvature)  # how far to go towards the mean weighted by F_k^q
        mean = combine(replies, {site: power / total for site, power in powers.items()})
        return {name: interpolate(replies.reference[name], tensor, share) for name, tensor in mean.items()}
