"""Compression at the site: what leaves instead of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.clients import update_compression
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.messages import update_codecs
from medfl.messages.records import to_array_record
from medfl.study import Study, read_study

SAMPLE = Path(__file__).parents[2] / "sample_configs" / "hippocampus"
RECEIVED = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(1, np.float32), "steps": np.array(3)}

TaskMaker = Callable[..., TrainTask]


@pytest.fixture
def make_task(make_study: Any, site: Any, organs: Any, tmp_path: Path) -> TaskMaker:
    """Return a maker of tasks with a codec, which find the state of earlier ones."""

    def make(codec: str, server_round: int = 1, arm: str = "federated", **options: Any) -> TrainTask:
        study: Study = make_study(compression={"codec": codec, **options})
        state = ClientState(tmp_path / "state", server_round)
        return TrainTask(
            study, site, organs(), build_network(study), RECEIVED, server_round, 7 + server_round, state=state, arm=arm
        )

    return make


def trained(*values: float) -> TrainResult:
    arrays = {"w": np.array(values[:4], np.float32).reshape(2, 2), "b": np.array(values[4:], np.float32), "steps": np.array(5)}
    return TrainResult(arrays, {"train.loss": 1.0}, {"control": {"w": np.ones(2)}})


def test_the_update_leaves_packed_and_everything_else_as_it_is(make_task: TaskMaker) -> None:
    outcome = update_compression.compress(make_task("bf16"), trained(1, 2, 3, 4, 5))
    assert set(outcome.arrays) == {update_codecs.BF16, "steps"}
    assert outcome.arrays["steps"] == 5
    assert (outcome.metrics, set(outcome.records)) == ({"train.loss": 1.0}, {"control"})


@pytest.mark.parametrize(("codec", "arm"), [("none", "federated"), ("int8", "local"), ("top-k", "local")])
def test_without_a_codec_and_in_the_local_arm_the_model_leaves_whole(codec: str, arm: str, make_task: TaskMaker) -> None:
    outcome = trained(1, 2, 3, 4, 5)
    assert update_compression.compress(make_task(codec, arm=arm), outcome) is outcome


def test_layers_that_stay_at_the_site_are_not_in_the_update(make_task: TaskMaker) -> None:
    outcome = trained(1, 2, 3, 4, 5)
    del outcome.arrays["b"]
    assert update_compression.compress(make_task("int8"), outcome).arrays[update_codecs.INT8].size == 4


def test_rounding_depends_on_the_seed_of_the_round_alone(make_task: TaskMaker) -> None:
    def codes(server_round: int) -> list[int]:
        outcome = TrainResult({**RECEIVED, "w": np.linspace(0.1, 1, 4, dtype=np.float32).reshape(2, 2)}, {})
        found: list[int] = (
            update_compression.compress(make_task("int8", server_round), outcome).arrays[update_codecs.INT8].tolist()
        )
        return found

    assert codes(1) == codes(1)
    assert len({tuple(codes(k)) for k in range(1, 9)}) > 1


def test_what_top_k_leaves_out_is_sent_later(make_task: TaskMaker) -> None:
    def sent(server_round: int, *values: float) -> list[float]:
        """Return the update that reaches the server, in the order b, w."""
        small = update_compression.compress(make_task("top-k", server_round, keep=0.2), trained(*values)).arrays
        parts = update_codecs.from_top_k(small, RECEIVED, 0.2)
        return [value for _, part in parts for value in part.tolist()]

    assert sent(1, 1, 0, 4, 3, 0) == [0, 0, 0, 4, 0]
    assert sent(2, 1, 0, 0, 0, -1) == [0, 0, 0, 0, 3]  # 3 was left over
    assert sent(3, 0.5, 0, 0, 0, 0) == [0, 2.5, 0, 0, 0]  # 1 and 1 were left over
    assert sent(3, 0.5, 0, 0, 0, 0) == [0, 2.5, 0, 0, 0]  # the server repeats a round after a crash


def test_sent_values_and_residual_add_up_to_what_was_trained(make_task: TaskMaker, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    exact, arrived = np.zeros(5), np.zeros(5)
    for server_round in range(1, 8):
        outcome = trained(*rng.standard_normal(5))
        exact += update_codecs.diff(outcome.arrays, RECEIVED)
        small = update_compression.compress(make_task("top-k", server_round, keep=0.3), outcome).arrays
        arrived += np.concatenate([part for _, part in update_codecs.from_top_k(small, RECEIVED, 0.3)])
    left = ClientState(tmp_path / "state", 8).load("residual")
    assert left is not None
    assert arrived + left["update"] == pytest.approx(exact, abs=1e-5)
    assert np.abs(left["update"]).max() > 0.1


@pytest.mark.parametrize(("codec", "most"), [("bf16", 0.51), ("int8", 0.27), ("top-k", 0.03)])
def test_a_sample_study_sends_a_share_of_the_bytes(codec: str, most: float, make_task: TaskMaker) -> None:
    net = build_network(read_study(SAMPLE))
    received = get_arrays(net)
    arrays = {name: x + np.asarray(0.01, x.dtype) if x.dtype.kind == "f" else x for name, x in received.items()}
    task = dataclasses.replace(make_task(codec), received=received)
    small = update_compression.compress(task, TrainResult(arrays, {})).arrays
    assert to_array_record(small).count_bytes() <= most * to_array_record(arrays).count_bytes()
