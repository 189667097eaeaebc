"""Pooled arm of a simulation: one model, trained on the training patients of all sites as if they lay in one place.

A round has the optimizer steps and the images of all sites together. The model is chosen and tested as the federated one, by
every site on its own patients, so no patient changes sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medfl.messages import records
from medfl.server.federation import Federation
from medfl.server.shared_training import SharedTraining
from medfl.strategies.fedavg import FedAvg


@dataclass(eq=False)
class _OneTrainer(FedAvg):
    """Have one site train on the cases of all; its answer scores nothing, as it is one site's."""

    has_common_start: ClassVar[bool] = False
    pooled_sites: tuple[str, ...] = ()

    def message_contents(self, nodes: Mapping[int, str], arrays: ArrayRecord, config: ConfigRecord) -> dict[int, RecordDict]:
        named = ConfigRecord({**config, records.POOLED: ",".join(self.pooled_sites)})
        return super().message_contents(nodes, arrays, named)


class PooledTraining(SharedTraining):
    """Train one model in one place.

    Parameters
    ----------
    federation : Federation
        The simulated sites.
    initial : ArrayRecord
        The model to start from.
    """

    name = "pooled"

    def __init__(self, federation: Federation, initial: ArrayRecord) -> None:
        node, site = min(federation.sites.items(), key=lambda item: item[1])
        trainer = _OneTrainer(
            min_train_nodes=1,
            min_evaluate_nodes=1,
            min_available_nodes=1,
            weighted_by_key="",
            wait=federation.study.strategy.wait,
            pooled_sites=tuple(sorted(federation.sites.values())),
        )
        super().__init__(federation, trainer, initial)
        trainer.begin_run({node: site})
