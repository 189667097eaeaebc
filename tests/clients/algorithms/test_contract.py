"""The contract table: every client algorithm with the checks that medfl ships for others' algorithms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medfl.clients.algorithms.algorithm_registry import CLIENT_ALGORITHMS
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.attacks import Attacker
from medfl.clients.networks.arrays import Arrays
from medfl.messages.records import CONTROL, COUNTED, ROUND
from medfl.study import Simulation
from medfl.testing import ClientAlgorithmContract

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
