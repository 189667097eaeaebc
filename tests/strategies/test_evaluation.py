"""Evaluation at the sites: what is no number does not count, and no failure costs the model."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from medfl.errors import QuorumError
from medfl.messages.records import to_array_record
from medfl.strategies import FedAvg
from medfl.testing.fake_grid import Answer, FakeGrid, Model, reply_with_content, reply_with_error, reply_with_model

START: Model = {"w": np.zeros(2, np.float32)}
TRAINED = reply_with_model({"w": np.ones(2, np.float32)}, 1)


def node(evaluation: Answer) -> Answer:
    """Return a node that trains, and answers an evaluation as told."""
    return lambda message: (TRAINED if message.metadata.message_type == MessageType.TRAIN else evaluation)(message)


def scored(loss: Any) -> Answer:
    return node(reply_with_content(RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": loss})})))


def start(strategy: FedAvg, *answers: Answer, rounds: int = 2) -> Any:
    return strategy.start(FakeGrid(dict(enumerate(answers, start=2))), to_array_record(START), num_rounds=rounds)


@pytest.mark.parametrize("bad", [math.nan, math.inf, [0.5, math.nan]])
def test_a_metric_that_is_no_number_leaves_its_site_out(bad: Any) -> None:
    strategy = FedAvg()
    result = start(strategy, scored(0.5), scored(bad))
    assert dict(result.evaluate_metrics_clientapp[2]) == {"loss": 0.5}
    assert strategy.last_evaluation.replies[1].reason == "[METRICS-NONFINITE] The metric 'loss' is not a finite number."
    assert strategy.last_evaluation.replies[1].metrics["loss"] == pytest.approx(bad, nan_ok=True)


def test_a_client_app_without_evaluate_costs_no_model(caplog: pytest.LogCaptureFixture) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return TRAINED(message) or message

    def answer(message: Message) -> Message:
        try:
            return app(message, Context(1, 2, {}, RecordDict(), {}))
        except ValueError:  # as Flower's runtime answers
            return reply_with_error(2, "<class 'ValueError'>:<'No evaluate function registered'>")(message) or message

    result = start(FedAvg(), answer, answer)
    assert result.arrays["w"].numpy().tolist() == [1, 1]
    assert not result.evaluate_metrics_clientapp
    told = [r.message for r in caplog.records if "has no score" in r.message]
    assert len(told) == 2
    assert "fraction_evaluate=0" in told[0]


def test_sites_that_are_gone_at_the_evaluation_cost_no_model(caplog: pytest.LogCaptureFixture) -> None:
    class Leaving(FakeGrid):
        def get_node_ids(self) -> Any:
            return list(self.answers)[: 1 if self.messages else None]

    strategy = FedAvg(wait=0.01)
    with caplog.at_level(logging.WARNING, "flwr"):
        result = strategy.start(Leaving({2: scored(1.0), 3: scored(1.0)}), to_array_record(START), num_rounds=1)
    assert result.arrays["w"].numpy().tolist() == [1, 1]
    assert "TOO-FEW-SITES" in caplog.text


def test_below_the_quorum_there_is_no_mean() -> None:
    assert not start(FedAvg(quorum=2), scored(0.5), scored(math.nan)).evaluate_metrics_clientapp


def test_the_model_of_the_last_round_outlives_one_that_fails() -> None:
    answers = iter([TRAINED, TRAINED, reply_with_error(2, "x"), reply_with_error(2, "x")])
    strategy = FedAvg(fraction_evaluate=0.0)
    with pytest.raises(QuorumError, match="train round 2"):
        start(strategy, *[lambda message: next(answers)(message)] * 2, rounds=3)
    assert strategy.last_model is not None
    assert strategy.last_model["w"].numpy().tolist() == [1, 1]
