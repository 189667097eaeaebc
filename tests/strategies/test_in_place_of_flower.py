"""The classes that bear the names of Flower's: the same keywords, the same defaults, the same effect of each."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from medfl import strategies
from medfl.messages.records import to_array_record
from medfl.testing import FakeGrid
from tests.strategies.rounds import Model, read

NAMES = sorted(set(flower.__all__) & set(strategies.__all__))
NODES = 8

every_class = pytest.mark.parametrize("name", NAMES)


def keywords(kind: Any) -> list[inspect.Parameter]:
    """Return the parameters with which a class is built."""
    return list(inspect.signature(kind).parameters.values())


def own_mean(_: list[RecordDict], key: str) -> MetricRecord:
    """Stand in for a user's function that averages metrics."""
    return MetricRecord({"own": len(key)})


# For each keyword another value than its default, and what else is set so that it matters.
ASKED: dict[str, tuple[Any, dict[str, Any]]] = {  # those that decide whom a round asks, and with what
    "fraction_train": (0.5, {}),
    "fraction_evaluate": (0.25, {}),
    "min_train_nodes": (5, {"fraction_train": 0.25}),
    "min_evaluate_nodes": (6, {"fraction_evaluate": 0.25}),
    "arrayrecord_key": ("model", {}),
    "configrecord_key": ("settings", {}),
    "proximal_mu": (0.1, {}),
}
MADE: dict[str, tuple[Any, dict[str, Any]]] = {  # those that decide what becomes of the replies
    "weighted_by_key": ("cases", {}),
    "train_metrics_aggr_fn": (own_mean, {}),
    "evaluate_metrics_aggr_fn": (own_mean, {}),
    "server_learning_rate": (0.5, {}),
    "server_momentum": (0.9, {}),
    "eta": (0.5, {}),
    "eta_l": (0.5, {}),  # without effect, in Flower too
    "beta_1": (0.5, {}),
    "beta_2": (0.5, {}),
    "tau": (0.1, {}),
    "beta": (0.4, {}),
    "num_malicious_nodes": (2, {}),
    "num_nodes_to_select": (3, {}),
    "client_learning_rate": (0.5, {"client_learning_rate": 0.1}),
    "q": (2.0, {}),
    "train_loss_key": ("other_loss", {}),
}
WITHOUT_EFFECT = {"eta_l"}
REQUIRED = {"QFedAvg": {"client_learning_rate": 0.1}}
APART = {"min_available_nodes"}  # has a test of its own: it decides when a round begins


@every_class
def test_each_keyword_of_flowers_is_taken_with_flowers_default(name: str) -> None:
    ours = {each.name: each for each in keywords(getattr(strategies, name))}
    for theirs in keywords(getattr(flower, name)):
        assert ours[theirs.name].default == theirs.default, theirs.name
        assert theirs.kind in (ours[theirs.name].kind, theirs.KEYWORD_ONLY), theirs.name


@every_class
def test_arguments_without_names_mean_the_same(name: str) -> None:
    positional = [each.name for each in keywords(getattr(flower, name)) if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert [each.name for each in keywords(getattr(strategies, name))][: len(positional)] == positional


@every_class
def test_every_keyword_of_flowers_is_tried(name: str) -> None:
    assert {each.name for each in keywords(getattr(flower, name))} <= ASKED.keys() | MADE.keys() | APART


def cases_of(table: dict[str, Any]) -> list[Any]:
    """Return each class with each of its keywords that is in a table."""
    return [
        pytest.param(name, each.name, id=f"{name}-{each.name}")
        for name in NAMES
        for each in keywords(getattr(flower, name))
        if each.name in table
    ]


def changed(name: str, keyword: str, table: dict[str, tuple[Any, dict[str, Any]]]) -> list[list[Any]]:
    """Return Flower's class and ours, each as it is by default and with another value for a keyword."""
    value, further = table[keyword]
    plain = {**REQUIRED.get(name, {}), **further}
    return [[getattr(home, name)(**each) for each in (plain, {**plain, keyword: value})] for home in (flower, strategies)]


def ask(strategy: Any) -> tuple[Any, ...]:
    """Return how many nodes a strategy asks in a round, and with what."""
    grid, model = FakeGrid(dict.fromkeys(range(2, 2 + NODES), lambda _: None)), to_array_record({"w": np.zeros(2)})
    sent = [
        list(configure(1, model, ConfigRecord({"lr": 0.1}), grid))
        for configure in (strategy.configure_train, strategy.configure_evaluate)
    ]
    contents = messages[0].content if (messages := sent[0] or sent[1]) else RecordDict()
    settings = [dict(record) for record in contents.values() if isinstance(record, ConfigRecord)]
    return tuple(map(len, sent)), sorted(contents), settings


@pytest.mark.parametrize(("name", "keyword"), cases_of(ASKED))
def test_a_keyword_changes_who_is_asked_and_with_what_as_in_flower(name: str, keyword: str) -> None:
    (before, after), (ours_before, ours_after) = ([ask(each) for each in pair] for pair in changed(name, keyword, ASKED))
    assert before != after
    assert (ours_before, ours_after) == (before, after)


def moving_node(number: int) -> Any:
    """Return a node that moves each model by a step of its own, with its metrics."""

    def reply(message: Message) -> Message:
        received = next(record for record in message.content.values() if isinstance(record, ArrayRecord))
        server_round = next(record for record in message.content.values() if isinstance(record, ConfigRecord))["server-round"]
        step = np.random.default_rng([number, server_round]).standard_normal(6).reshape(2, 3) * (3.0 if number > 7 else 0.3)
        model = {name: array.numpy() + step for name, array in received.items()}
        losses = {"train_loss": 0.1 * number, "other_loss": 2.0 / number}
        metrics = MetricRecord({"num-examples": number, "cases": 40 - number, "loss": 0.3 * number, **losses})
        return Message(RecordDict({"arrays": to_array_record(model), "metrics": metrics}), reply_to=message)

    return reply


def play(strategy: Any) -> tuple[Model, dict[str, Any], dict[str, Any]]:
    """Return the model and the metrics after three rounds, in which all nodes take part."""
    grid = FakeGrid({node: moving_node(node) for node in range(2, 2 + NODES)})
    start = to_array_record({"w": np.linspace(-1.0, 1.0, 6).reshape(2, 3)})
    result = strategy.start(grid, start, num_rounds=3)
    return read(result.arrays), dict(result.train_metrics_clientapp[3]), dict(result.evaluate_metrics_clientapp[3])


def are_close(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    """Say whether two outcomes of `play` are the same within rounding."""
    return all(
        left.keys() == right.keys() and all(np.allclose(left[key], right[key], rtol=1e-5, atol=1e-6) for key in left)
        for left, right in zip(one, two, strict=True)
    )


@pytest.mark.parametrize(("name", "keyword"), cases_of(MADE))
def test_a_keyword_changes_what_becomes_of_the_replies_as_in_flower(name: str, keyword: str) -> None:
    (before, after), (ours_before, ours_after) = ([play(each) for each in pair] for pair in changed(name, keyword, MADE))
    assert are_close(before, after) is (keyword in WITHOUT_EFFECT)
    if name in ("Krum", "MultiKrum"):  # the metrics are a difference that is intended: of all counted replies
        assert are_close(ours_before[:1], before[:1])
        assert are_close(ours_after[:1], after[:1])
        assert are_close(ours_before, ours_after) is (keyword in WITHOUT_EFFECT)
    else:
        assert are_close(ours_before, before)
        assert are_close(ours_after, after)


class GrowingGrid(FakeGrid):
    """A grid of which one more node is connected at each look."""

    looks = 0

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are connected by now."""
        self.looks += 1
        return list(self.answers)[: 2 + self.looks]


@every_class
@pytest.mark.parametrize("home", [flower, strategies])
def test_a_round_begins_once_enough_nodes_are_connected(home: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("flwr.serverapp.strategy.strategy_utils.sleep", lambda _: None)
    looks = []
    for more in ({}, {"min_available_nodes": NODES}):
        grid = GrowingGrid(dict.fromkeys(range(2, 2 + NODES), lambda _: None))
        strategy = getattr(home, name)(**REQUIRED.get(name, {}), **more)
        assert list(strategy.configure_train(1, to_array_record({"w": np.zeros(2)}), ConfigRecord(), grid))
        looks.append(grid.looks)
    assert looks[0] < NODES - 2 <= looks[1]


APP = """\
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from {home} import {name}

client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    model = message.content["arrays"]["weights"].numpy()
    target = context.node_id**1.5
    moved = ArrayRecord({{"weights": Array(model + 0.1 * (target - model))}})
    metrics = MetricRecord({{"num-examples": context.node_id, "train_loss": float(np.abs(target - model).mean())}})
    return Message(RecordDict({{"arrays": moved, "metrics": metrics}}), reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    error = float(np.abs(message.content["arrays"]["weights"].numpy() - context.node_id**1.5).mean())
    return Message(RecordDict({{"metrics": MetricRecord({{"num-examples": 1, "error": error}})}}), reply_to=message)


server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    strategy = {name}({arguments})
    initial = ArrayRecord({{"weights": Array(np.zeros(4))}})
    context.state["result"] = strategy.start(grid, initial, num_rounds=3, train_config=ConfigRecord({{"lr": 0.1}})).arrays
"""


@every_class
def test_a_plain_flower_app_runs_with_its_import_swapped(name: str) -> None:
    results = []
    for home in ("flwr.serverapp.strategy", "medfl.strategies"):
        app: dict[str, Any] = {}
        arguments = ", ".join(f"{key}={value}" for key, value in REQUIRED.get(name, {}).items())
        # run as Flower would: text of this test, with one import swapped
        exec(APP.format(home=home, name=name, arguments=arguments), app)
        context = Context(1, 1, {}, RecordDict(), {})
        app["server"](FakeGrid({node: run_client(app["client"], node) for node in range(2, 8)}), context)
        results.append(read(context.state["result"]))
    theirs, ours = results
    np.testing.assert_allclose(ours["weights"], theirs["weights"], rtol=1e-6)
    assert np.abs(ours["weights"]).min() > 0


def run_client(app: Any, node: int) -> Any:
    """Return a node that runs a ClientApp."""
    return lambda message: app(message, Context(1, node, {}, RecordDict(), {}))
