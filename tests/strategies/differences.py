"""Rounds that show a difference from Flower's classes, and those differences that concern what is private or no parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from medfl import strategies
from medfl.errors import ExchangeError, QuorumError
from medfl.messages.records import to_array_record
from medfl.testing import FakeGrid
from medfl.testing.fake_grid import Answer, reply_with_content, reply_with_model
from tests.strategies.rounds import Model, read

START: Model = {"w": np.zeros(3)}


def play(strategy: Any, answers: Mapping[int, Answer], model: Model = START, server_round: int = 1) -> tuple[Any, Any]:
    """Return the model, None where there is none, and the metrics of one round."""
    grid = FakeGrid(answers)
    messages = list(strategy.configure_train(server_round, to_array_record(model), ConfigRecord(), grid))
    arrays, metrics = strategy.aggregate_train(server_round, list(grid.send_and_receive(messages)))
    return arrays and read(arrays), metrics


def nodes(*values: float, **metrics: float) -> dict[int, Answer]:
    """Return nodes that send a model of one value each."""
    return {k: reply_with_model({"w": np.full(3, float(x))}, 1, **metrics) for k, x in enumerate(values, start=2)}


def buffers() -> None:
    start = {"w": np.zeros(1), "norm.running_var": np.ones(1)}
    half = dict.fromkeys((2, 3), reply_with_model({"w": np.ones(1), "norm.running_var": np.full(1, 0.5)}, 1))
    for name, options in (("FedAvgM", {"server_learning_rate": 3.0}), ("FedAdagrad", {"eta": 2.0}), ("FedAdam", {"eta": 1.5})):
        theirs, ours = (play(getattr(home, name)(**options), half, start)[0] for home in (flower, strategies))
        assert theirs["norm.running_var"] < 0
        assert ours["norm.running_var"] == 0.5
        assert ours["w"] == pytest.approx(theirs["w"], rel=1e-5)
    honest = [(1.0, 0.0), (1.01, 200.0), (1.02, 400.0), (1.03, 600.0), (-10.0, 300.0)]
    answers = {
        k: reply_with_model({"w": np.full(1, w), "norm.running_var": np.full(1, v)}, 1) for k, (w, v) in enumerate(honest, 2)
    }
    assert play(flower.Krum(num_malicious_nodes=1), answers, start)[0]["w"] == -10
    ours = play(strategies.Krum(num_malicious_nodes=1), answers, start)[0]
    assert ours["w"] > 0
    assert ours["norm.running_var"] == 300


def evaluation_not_finite() -> None:
    answers = {
        k: reply_with_content(RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": loss})}))
        for k, loss in ((2, 0.5), (3, math.nan))
    }
    means = []
    for home in (flower, strategies):
        grid, strategy = FakeGrid(answers), home.FedAvg()
        messages = list(strategy.configure_evaluate(1, to_array_record(START), ConfigRecord(), grid))
        means.append(strategy.aggregate_evaluate(1, list(grid.send_and_receive(messages)))["loss"])
    assert means == pytest.approx([math.nan, 0.5], nan_ok=True)


def private_noise() -> None:
    def start(home: Any, answers: dict[int, Answer], name: str = "FedAvg") -> Any:
        wrapper = flower.DifferentialPrivacyServerSideFixedClipping(getattr(home, name)(), 1.0, 1.0, 5)
        return wrapper.start(FakeGrid(answers), to_array_record(START), num_rounds=1).arrays

    lost, unequal = nodes(1, 1, 1), {k: reply_with_model({"w": np.full(3, 1.0)}, 10**k) for k in range(2, 7)}
    for answers, name in ((lost, "FedAvg"), (unequal, "FedAvg"), (nodes(1, 1, 1, 1, 1), "FedMedian")):
        assert start(flower, answers, name) is not None
        with pytest.raises((ExchangeError, QuorumError), match="PRIVACY-"):
            start(strategies, answers, name)


def far_replies() -> None:
    start: Model = {"w": np.zeros(3, np.float32)}
    far = {k: reply_with_model({"w": np.full(3, x, np.float32)}, 1) for k, x in ((2, 1e20), (3, 1.0), (4, 1.0))}
    for name in ("FedAdam", "FedYogi", "FedAdagrad"):
        theirs, ours = getattr(flower, name)(), getattr(strategies, name)()
        with np.errstate(over="ignore"):
            assert play(theirs, far, start)[0]["w"].tolist() == [0, 0, 0]  # a step divided by infinity
        assert play(ours, far, start)[0]["w"][0] > 0
        assert ours.last_round.replies[0].reason.startswith("[UPDATE-RANGE]")


def infinite_results() -> None:
    low: Model = {"w": np.full(3, -3e38, np.float32)}
    high = dict.fromkeys((2, 3), reply_with_model({"w": np.full(3, 3e38, np.float32)}, 1))
    momentum = {"server_momentum": 0.5, "server_learning_rate": 0.5}
    with np.errstate(over="ignore"):
        assert not np.isfinite(play(flower.FedAvgM(**momentum), high, low)[0]["w"]).any()
    strategy = strategies.FedAvgM(**momentum)
    with pytest.raises(QuorumError, match="UPDATE-RANGE"):
        play(strategy, high, low)
    assert strategy.state() == {}
