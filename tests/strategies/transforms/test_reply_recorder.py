"""The recorder keeps what the strategy sees, of the rounds that are due."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.messages.records import to_array_record
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.transforms.reply_recorder import ReplyRecorder
from medfl.testing.fake_grid import FakeGrid, Model, reply_with_model

START: Model = {"w": np.zeros(2, np.float32), "scale": np.ones(1, np.float32), "norm.running_var": np.ones(1, np.float32)}
ANSWERS = {k: reply_with_model({name: x * np.float32(k) for name, x in START.items()}, 1) for k in (2, 3)}


@pytest.mark.parametrize(("told", "buffers"), [(None, {"norm.running_var"}), (["w"], {"scale", "norm.running_var"})])
def test_the_buffers_of_what_it_keeps_are_those_of_the_strategy(told: list[str] | None, buffers: set[str]) -> None:
    recorder = ReplyRecorder()
    strategy = FedAvg(transforms=[recorder], parameter_names=told, fraction_evaluate=0.0)
    strategy.start(FakeGrid(ANSWERS), to_array_record(START), num_rounds=1)
    assert recorder.replies is not None
    assert recorder.replies.sites == ("node-2", "node-3")
    assert recorder.replies.buffers == buffers
    recorder.close()
    assert recorder.replies is None


@pytest.mark.parametrize(("rounds", "kept"), [(1, False), (2, True), (3, False)])
def test_only_rounds_that_are_due_are_kept(rounds: int, kept: bool) -> None:
    recorder = ReplyRecorder(every=2)
    strategy = FedAvg(transforms=[recorder], fraction_evaluate=0.0)
    strategy.start(FakeGrid(ANSWERS), to_array_record(START), num_rounds=rounds)
    assert (recorder.replies is not None) is kept
    recorder.close()
