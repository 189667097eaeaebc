"""The contract table: every client algorithm with the checks that medfl ships for others' algorithms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.clients.algorithms.algorithm_registry import CLIENT_ALGORITHMS
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.attacks import Attacker
from medfl.clients.networks.arrays import Arrays
from medfl.clients.networks.tuning import build_training_network, trained_names
from medfl.messages.records import CONTROL, COUNTED, ROUND
from medfl.study import Simulation
from medfl.testing import ClientAlgorithmContract
from medfl.testing.sites import make_study

TABLES: dict[str, dict[str, Any]] = {"scaffold": {"optimizer": {"name": "sgd", "learning-rate": 0.05}}}
BUILT: dict[str, Callable[[], ClientAlgorithm]] = {
    "plain": ClientAlgorithm,
    **CLIENT_ALGORITHMS,
    **{
        attack: lambda attack=attack: Attacker(ClientAlgorithm(), Simulation(attack=attack))
        for attack in ("sign-flip", "scale", "gaussian", "label-flip")
    },
}


class TestEveryClientAlgorithm(ClientAlgorithmContract):
    @pytest.fixture(autouse=True, params=BUILT)
    def _chosen(self, request: Any) -> None:
        self.build, self.tables = BUILT[request.param], TABLES.get(request.param, {})

    def server_records(self, model: Arrays, server_round: int) -> dict[str, Arrays]:
        """Send what any of them may ask for."""
        control = {name: np.zeros_like(x) for name, x in model.items() if x.dtype.kind == "f"}
        return {CONTROL: control, COUNTED: {ROUND: np.array(server_round - 1)}}


class TestEveryClientAlgorithmOnAPart(TestEveryClientAlgorithm):
    """Low-rank updates and the head are trained: all that is said of a whole network holds, and the rest stays as it was."""

    @pytest.fixture(autouse=True, params=BUILT)
    def _chosen(self, request: Any) -> None:
        self.build = BUILT[request.param]
        self.tables = {**TABLES.get(request.param, {}), "training": {"tune": "lora,head"}}

    def test_what_is_frozen_keeps_every_bit(self, tmp_path: Path) -> None:
        study, start = make_study(**self.tables), self._start()
        trained = trained_names(study, build_training_network(study))
        arrays = self._train(start, tmp_path).arrays
        assert {name for name in start if not np.array_equal(start[name], arrays[name])} <= trained
        assert any(name.endswith("lora_A") for name in start if name not in trained)
