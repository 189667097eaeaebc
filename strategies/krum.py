"""Krum: the model becomes the one reply that is closest to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from medfl.aggregate import MeanName
from medfl.messages.records import ARRAYS, CONFIG
from medfl.strategies.base.reply import MetricsMean
from medfl.strategies.multikrum import MultiKrum
from medfl.strategies.transforms.reply_transform import ReplyTransform


class Krum(MultiKrum):
    """Krum (Blanchard et al. 2017, section 3, https://arxiv.org/abs/1703.02757): `MultiKrum` that keeps a single reply.

    The model is that of one site, so robustness costs accuracy where sites differ.

    Parameters
    ----------
    num_malicious_nodes : int
        The paper's f: how many bad sites there may be; above 0 a round needs 2 f + 3 replies.

    Further keywords are those of `FedAvg`. The mean metrics are over all counted replies.
    """

    def __init__(
        self,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        min_train_nodes: int = 2,
        min_evaluate_nodes: int = 2,
        min_available_nodes: int = 2,
        num_malicious_nodes: int = 0,
        weighted_by_key: str = "num-examples",
        arrayrecord_key: str = ARRAYS,
        configrecord_key: str = CONFIG,
        train_metrics_aggr_fn: MetricsMean | None = None,
        evaluate_metrics_aggr_fn: MetricsMean | None = None,
        *,
        quorum: int = 1,
        evaluate_weighted_by_key: str | None = None,
        wait: float = 600.0,
        seed: int = 0,
        mean: MeanName = "exact",
        transforms: Sequence[ReplyTransform] = (),
        site_names: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            num_malicious_nodes=num_malicious_nodes,
            num_nodes_to_select=1,
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
