"""The contract table: every strategy times the checks that come with medfl for strategies of others too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord

from medfl.messages.records import CONTROL, COUNTED, ROUND, to_array_record
from medfl.strategies.fedadagrad import FedAdagrad
from medfl.strategies.fedadam import FedAdam
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.fedavgm import FedAvgM
from medfl.strategies.fedbuff import FedBuff
from medfl.strategies.fedcostwavg import FedCostWAvg
from medfl.strategies.feddyn import FedDyn
from medfl.strategies.fedmedian import FedMedian
from medfl.strategies.fednova import FedNova
from medfl.strategies.fedpidavg import FedPIDAvg
from medfl.strategies.fedprox import FedProx
from medfl.strategies.fedtrimmedavg import FedTrimmedAvg
from medfl.strategies.fedyogi import FedYogi
from medfl.strategies.krum import Krum
from medfl.strategies.local_only import LocalOnly
from medfl.strategies.multikrum import MultiKrum
from medfl.strategies.qfedavg import QFedAvg
from medfl.strategies.rfa import Rfa
from medfl.strategies.scaffold import Scaffold
from medfl.strategies.transforms.norm_filters import ClipNorm, NormOutlierFilter
from medfl.strategies.transforms.update_decoding import Bf16, Int8, TopK
from medfl.testing import StrategyContract
from medfl.testing.fake_grid import Model
from tests.strategies.packing import Packing

STRATEGIES: dict[str, Callable[..., FedAvg]] = {
    "fedavg": FedAvg,
    "fedavg-float": lambda **k: FedAvg(**{"mean": "float", **k}),
    "fedavg-equal": lambda **k: FedAvg(**{"weighted_by_key": "", **k}),
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedadagrad": FedAdagrad,
    "fednova": lambda **k: FedNova(**{"steps_key": "num-examples", **k}),
    "qfedavg": lambda **k: QFedAvg(**{"client_learning_rate": 0.1, "train_loss_key": "loss", **k}),
    "fedcostwavg": lambda **k: FedCostWAvg(**{"loss_key": "loss", **k}),
    "fedpidavg": lambda **k: FedPIDAvg(**{"loss_key": "loss", **k}),
    "fedbuff": lambda **k: FedBuff(**{"round_timeout": 0.2, "buffer": 99, **k}),
    "local": LocalOnly,
    "fedprox": FedProx,
    "scaffold": Scaffold,
    "feddyn": FedDyn,
    "fedmedian": FedMedian,
    "fedtrimmedavg": FedTrimmedAvg,
    "fedtrimmedavg-nothing": lambda **k: FedTrimmedAvg(**{"beta": 0.0, **k}),
    "krum": lambda **k: Krum(**{"num_malicious_nodes": 1, **k}),
    "krum-none-malicious": Krum,
    "multikrum": lambda **k: MultiKrum(**{"num_malicious_nodes": 1, "num_nodes_to_select": 0, **k}),
    "multikrum-none-malicious": lambda **k: MultiKrum(**{"num_nodes_to_select": 0, **k}),
    "rfa": Rfa,
    "fedavg+bf16": lambda **k: FedAvg(**{"transforms": (Packing("bf16"), Bf16()), **k}),
    "fedavg+int8": lambda **k: FedAvg(**{"transforms": (Packing("int8"), Int8()), **k}),
    "fedavg+top-k": lambda **k: FedAvg(**{"transforms": (Packing("top-k", 0.5), TopK(0.5)), **k}),
    "fedavg+clip": lambda **k: FedAvg(**{"transforms": (ClipNorm(2.0),), **k}),
    "fedavg+reject": lambda **k: FedAvg(**{"transforms": (NormOutlierFilter(50.0),), **k}),
    "feddyn+int8+clip": lambda **k: FedDyn(**{"transforms": (Packing("int8"), Int8(), ClipNorm(2.0)), **k}),
    "fedbuff+int8": lambda **k: FedBuff(**{"round_timeout": 0.2, "buffer": 99, "transforms": (Packing("int8"), Int8()), **k}),
    "rfa+bf16+reject": lambda **k: Rfa(**{"transforms": (Packing("bf16"), Bf16(), NormOutlierFilter(50.0)), **k}),
}
LEAST = {"fedtrimmedavg": 5, "krum": 5, "multikrum": 5}  # replies that a rule needs
INEXACT = {"fedavg-float"}


def control(arrays: Model) -> dict[str, ArrayRecord]:
    return {CONTROL: to_array_record({n: x for n, x in arrays.items() if x.dtype.kind == "f" and not n.endswith("_var")})}


def counted(_: Model) -> dict[str, ArrayRecord]:
    return {COUNTED: to_array_record({ROUND: np.array(0)})}


FURTHER = {"scaffold": control, "feddyn": counted, "feddyn+int8+clip": counted}  # what replies bring beside the model


class TestEveryStrategy(StrategyContract):
    @pytest.fixture(autouse=True, params=STRATEGIES)
    def _chosen(self, request: Any) -> None:
        name = request.param
        self.build, self.min_replies, self.is_order_independent = STRATEGIES[name], LEAST.get(name, 1), name not in INEXACT  # type: ignore[misc]
        self.extra_records = FURTHER.get(name, lambda _: {})  # type: ignore[method-assign]


def test_the_error_of_a_lost_node_names_the_node_and_not_the_server(fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({21: make.trained(make.model(1), 2), 1 << 40: make.failed(5, "Node Unavailable", as_server=True)})
    strategy = FedAvg()
    messages = strategy.configure_train(1, initial, ConfigRecord(), grid)
    strategy.aggregate_train(1, grid.send_and_receive(messages))
    lost = {r.site: r for r in strategy.last_round.replies}[f"node-{1 << 40}"]
    assert lost.status == "failed"
    assert lost.reason.startswith("[NODE-LOST]")
