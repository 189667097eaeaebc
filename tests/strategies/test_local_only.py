"""Local training: each hospital gets its own model back, and no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from medfl.errors import RunError
from medfl.messages.records import to_array_record
from medfl.strategies.local_only import LocalOnly

SITES = {5: "aachen", 6: "bergen"}


def plus(step: float) -> Any:
    """Train by adding a number to what came."""

    def answer(message: Message) -> Message:
        arrays = {n: a.numpy() + np.float32(step) for n, a in message.content["arrays"].items() if n != "steps"}
        arrays["steps"] = message.content["arrays"]["steps"].numpy()
        metrics = MetricRecord({"loss": step})
        return Message(RecordDict({"arrays": to_array_record(arrays), "metrics": metrics}), reply_to=message)

    return answer


def play(strategy: LocalOnly, grid: Any, arrays: ArrayRecord, server_round: int) -> ArrayRecord | None:
    replies = grid.send_and_receive(strategy.configure_train(server_round, arrays, ConfigRecord(), grid))
    return strategy.aggregate_train(server_round, replies)[0]


def value(arrays: ArrayRecord) -> float:
    return float(arrays["scale"].numpy())


def test_models_are_never_mixed(fake: Any, initial: ArrayRecord) -> None:
    grid, strategy = fake({5: plus(1), 6: plus(10)}), LocalOnly(site_names=SITES)
    for server_round in (1, 2, 3):
        assert play(strategy, grid, initial, server_round) is initial
    assert (value(strategy.site_model("aachen")), value(strategy.site_model("bergen"))) == (3.0, 30.0)
    sent = {
        m.metadata.dst_node_id: value(m.content["arrays"])
        for m in strategy.configure_evaluate(3, initial, ConfigRecord(), grid)
    }
    assert sent == {5: 3.0, 6: 30.0}


def test_a_site_that_fails_goes_on_with_the_model_it_had(fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid, strategy = fake({5: plus(1), 6: plus(10)}), LocalOnly(site_names=SITES)
    play(strategy, grid, initial, 1)
    grid.answers[6] = make.failed(8, "gone")
    play(strategy, grid, initial, 2)
    grid.answers[6] = plus(10)
    play(strategy, grid, initial, 3)
    assert (value(strategy.site_model("aachen")), value(strategy.site_model("bergen"))) == (3.0, 20.0)


def test_a_site_without_a_counted_reply_has_the_initial_model(fake: Any, make: Any, initial: ArrayRecord) -> None:
    strategy = LocalOnly(site_names=SITES)
    with pytest.raises(RunError, match="NO-MODEL"):
        strategy.site_model("aachen")
    play(strategy, fake({5: plus(1), 6: make.failed(8, "gone")}), initial, 1)
    assert strategy.site_model("bergen") is initial


def test_it_goes_on_from_restored_models(fake: Any, make: Any, initial: ArrayRecord) -> None:
    before, strategy = LocalOnly(site_names=SITES), LocalOnly(site_names=SITES)
    play(before, fake({5: make.failed(8, "gone"), 6: plus(7)}), initial, 3)
    strategy.restore(before.state())
    play(strategy, fake({5: plus(1), 6: plus(10)}), initial, 4)
    assert (value(strategy.site_model("aachen")), value(strategy.site_model("bergen"))) == (1.0, 17.0)


def test_a_narrower_reply_is_stored_in_the_type_of_the_model(fake: Any, make: Any, initial: ArrayRecord) -> None:
    narrow = {name: x.astype(np.float16) if x.dtype.kind == "f" else x for name, x in make.model(2).items()}
    strategy = LocalOnly(site_names=SITES, weighted_by_key="num-examples")
    play(strategy, fake({5: make.trained(narrow, 1), 6: make.trained(narrow, 1)}), initial, 1)
    types = {name: array.dtype for name, array in strategy.site_model("aachen").items()}
    assert types == {name: array.dtype for name, array in initial.items()}
    assert value(strategy.site_model("aachen")) == 2


def test_state_of_reply_transforms_is_no_model_of_a_site() -> None:
    strategy = LocalOnly(site_names=SITES)
    strategy.restore({"wrapper-0.sum/w": np.zeros(2), "own/aachen/block/w": np.ones(2)})
    assert list(strategy.site_model("aachen")) == ["block/w"]
    assert strategy.state().keys() == {"own/aachen/block/w"}
