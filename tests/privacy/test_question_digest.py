"""What makes a question another one: its content, but not what changes when the same is asked again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from medfl.messages import records
from medfl.privacy.questions import read_question
from medfl.testing.sites import make_study


def digest(weight: float = 0.0, **config: Any) -> str:
    values = {records.ROUND: 2, records.RUN: "run", records.ARM: "federated"} | {
        key.replace("_", "-"): value for key, value in config.items()
    }
    model = records.to_array_record({"w": np.full(3, weight, np.float32)})
    content = RecordDict({records.ARRAYS: model, records.CONFIG: ConfigRecord(values)})
    return read_question("train", content, make_study(), "run").digest


@pytest.mark.parametrize(
    "change",
    [{"exchange": "b"}, {"audit_head": "server:run 9 f"}, {"run_folder": "/elsewhere"}, {"model_round": 3}],
    ids=str,
)
def test_a_resumed_run_asks_the_same_question(change: dict[str, Any]) -> None:
    """Its answer is given again: also when the operator moved the folder of the runs, or an earlier server began the run."""
    assert digest(exchange="a", run_folder="/runs") == digest(**{"exchange": "a", "run_folder": "/runs"} | change)


@pytest.mark.parametrize("change", [{"weight": 1.0}, {"round": 3}, {"split": "validation"}], ids=str)
def test_another_model_round_or_split_is_another_question(change: dict[str, Any]) -> None:
    assert digest(**change) != digest()
