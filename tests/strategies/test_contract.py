"""What every strategy must do, whatever it makes of the replies: a table of strategies times checks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from medfl.errors import QuorumError
from medfl.records import RoundRecord, to_array_record
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.local import LocalOnly
from medfl.strategies.streaming import StreamingGrid

STRATEGIES: dict[str, Callable[..., FedAvg]] = {
    "fedavg": FedAvg,
    "fedavg-float": lambda **k: FedAvg(**{"mean": "float", **k}),
    "fedavg-equal": lambda **k: FedAvg(**{"weighted_by": "", **k}),
    "local": LocalOnly,
}
SITES = {21: "bergen", 22: "aachen", 23: "cadiz"}

every_strategy = pytest.mark.parametrize("build", STRATEGIES.values(), ids=STRATEGIES.keys())


def one_round(strategy: FedAvg, grid: Any, arrays: ArrayRecord, server_round: int = 1) -> ArrayRecord | None:
    messages = strategy.configure_train(server_round, arrays, ConfigRecord({"lr": 0.1}), grid)
    return strategy.aggregate_train(server_round, grid.send_and_receive(messages, timeout=0.2))[0]


def told(record: RoundRecord) -> dict[str, tuple[str, str]]:
    return {r.site: (r.status, r.reason.partition("]")[0].lstrip("[")) for r in record.replies}


@every_strategy
def test_every_site_is_asked_with_the_model_and_the_round(build: Any, fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({node: make.trained(make.model(1), 2) for node in SITES})
    config = ConfigRecord({"lr": 0.1})
    messages = list(build().configure_train(4, initial, config, grid))
    assert [m.metadata.dst_node_id for m in messages] == [21, 22, 23]
    assert {m.metadata.message_type for m in messages} == {MessageType.TRAIN}
    for message in messages:
        assert dict(message.content["config"]) == {"lr": 0.1, "server-round": 4}
        assert message.content["arrays"].keys() == initial.keys()
    assert "server-round" not in config


@every_strategy
@pytest.mark.parametrize("streaming", [True, False])
def test_the_record_of_a_round_is_complete(build: Any, streaming: bool, fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({node: make.trained(make.model(node), node) for node in SITES})
    strategy = build(site_names=SITES)
    one_round(strategy, StreamingGrid(grid) if streaming else grid, initial)
    record = strategy.last_round
    assert [r.site for r in record.replies] == ["aachen", "bergen", "cadiz"]
    assert {r.status for r in record.replies} == {"ok"}
    assert record.replies[0].metrics == {"num-examples": 22, "loss": 0.5}
    assert record.round == 1
    one_way = initial.count_bytes()
    assert 3 * one_way < record.bytes_down < 3 * one_way + 200
    assert 3 * one_way < record.bytes_up < 3 * one_way + 200


def bad_answers(make: Any) -> dict[str, tuple[Any, tuple[str, str]]]:
    fine = to_array_record(make.model(1))
    metrics = MetricRecord({"num-examples": 2, "loss": 0.5})
    cut = to_array_record(make.model(1))
    cut["weight"].data = cut["weight"].data[:-3]
    nan, wide = make.model(1), make.model(1, size=4)
    nan["weight"][0, 0] = np.nan
    return {
        "error": (make.failed(2, "<class 'ValueError'>:<'/data/DOE'>"), ("failed", "CLIENT-ERROR")),
        "own error": (make.failed(2, "[LBL-EMPTY] The details are in the log of the site."), ("failed", "LBL-EMPTY")),
        "lost": (make.failed(5, "Node Unavailable", as_server=True), ("failed", "NODE-LOST")),
        "late": (lambda _: None, ("late", "NO-REPLY")),
        "no arrays": (make.contents(RecordDict({"metrics": metrics})), ("refused", "ARRAYS-MISSING")),
        "empty arrays": (
            make.contents(RecordDict({"arrays": ArrayRecord(), "metrics": metrics})),
            ("refused", "ARRAYS-MISSING"),
        ),
        "no metrics": (make.contents(RecordDict({"arrays": fine})), ("refused", "METRICS-MISSING")),
        "two metrics": (
            make.contents(RecordDict({"arrays": fine, "m": metrics, "n": metrics})),
            ("refused", "METRICS-MISSING"),
        ),
        "empty": (make.contents(RecordDict()), ("refused", "METRICS-MISSING")),
        "cut short": (make.contents(RecordDict({"arrays": cut, "metrics": metrics})), ("refused", "ARRAYS-UNREADABLE")),
        "not finite": (make.trained(nan, 2), ("refused", "UPDATE-NONFINITE")),
        "wrong shape": (make.trained(wide, 2), ("refused", "MODEL-MISMATCH")),
        "wrong names": (make.trained({"other": np.zeros(2, np.float32)}, 2), ("refused", "MODEL-MISMATCH")),
    }


BAD = ["error", "own error", "lost", "late", "no arrays", "empty arrays", "no metrics", "two metrics", "empty", "cut short"]
BAD += ["not finite", "wrong shape", "wrong names"]


@every_strategy
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_reply_is_recorded_and_left_out(build: Any, kind: str, fake: Any, make: Any, initial: ArrayRecord) -> None:
    bad, expected = bad_answers(make)[kind]
    good = {21: make.trained(make.model(1), 2), 22: make.trained(make.model(4), 4)}
    with_bad, without = build(site_names=SITES), build(site_names=SITES)
    result = one_round(with_bad, StreamingGrid(fake(good | {23: bad}, order=[23, 21, 22])), initial)
    assert told(with_bad.last_round) == {"bergen": ("ok", ""), "aachen": ("ok", ""), "cadiz": expected}
    assert "DOE" not in with_bad.last_round.reasons()
    right = one_round(without, fake(good), initial)
    assert result is not None
    assert right is not None
    assert {k: v.data for k, v in result.items()} == {k: v.data for k, v in right.items()}


@every_strategy
def test_below_the_quorum_the_round_fails_and_says_why(build: Any, fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({21: make.trained(make.model(1), 2), 22: make.failed(8, "x"), 23: lambda _: None})
    strategy = build(quorum=2, site_names=SITES)
    with pytest.raises(QuorumError) as caught:
        one_round(strategy, StreamingGrid(grid), initial)
    assert caught.value.code == "QUORUM"
    assert "aachen: failed, [CLIENT-STOPPED]" in caught.value.what
    assert "cadiz: late, [NO-REPLY]" in caught.value.what
    assert told(strategy.last_round)["bergen"] == ("ok", "")


@every_strategy
def test_too_few_sites_is_an_error_and_not_a_wait_for_ever(build: Any, fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({21: make.trained(make.model(1), 2), 99: make.trained(make.model(1), 2)})
    strategy = build(quorum=2, wait=0.1, site_names=SITES)  # node 99 has no name, hence did not join
    with pytest.raises(QuorumError, match="TOO-FEW-SITES"):
        strategy.configure_train(1, initial, ConfigRecord(), grid)


@every_strategy
def test_a_stranger_and_a_second_reply_change_nothing(build: Any, fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({21: make.trained(make.model(1), 2)})
    strategy = build()
    messages = list(strategy.configure_train(1, initial, ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages))
    unasked = Message(RecordDict(), dst_node_id=77, message_type=MessageType.TRAIN)
    stranger = make.trained(make.model(9), 5)(unasked)
    arrays, _ = strategy.aggregate_train(1, [*replies, *replies, stranger])
    assert arrays is not None
    assert told(strategy.last_round)["node-77"] == ("refused", "SENDER-UNKNOWN")
    assert [r.reason for r in strategy.last_round.replies if r.site == "node-21"] == ["", "[REPLY-TWICE] A second reply came."]


@every_strategy
def test_the_order_of_arrival_changes_no_bit(build: Any, fake: Any, make: Any, initial: ArrayRecord) -> None:
    if build is STRATEGIES["fedavg-float"]:
        pytest.skip("the float mean promises less")
    rng = np.random.default_rng(0)
    models = {node: make.model(0) | {"weight": rng.standard_normal((2, 3), np.float32)} for node in (1, 2, 3, 4)}
    seen = set()
    for order in itertools.permutations(models):
        answers = {n: make.trained(m, n * 7, accuracy=0.1 * n) for n, m in models.items()}
        grid, strategy = StreamingGrid(fake(answers, order)), build()
        messages = strategy.configure_train(1, initial, ConfigRecord(), grid)
        arrays, metrics = strategy.aggregate_train(1, grid.send_and_receive(messages))
        assert arrays is not None
        assert metrics is not None
        seen.add((*(a.data for a in arrays.values()), repr(sorted(metrics.items()))))
    assert len(seen) == 1


@every_strategy
def test_the_choice_of_sites_depends_on_seed_round_and_names_only(
    build: Any, fake: Any, make: Any, initial: ArrayRecord
) -> None:
    def chosen(nodes: list[int], seed: int, server_round: int) -> list[str]:
        names = dict(zip(nodes, "abcdefgh", strict=True))
        strategy = build(fraction=0.5, seed=seed, site_names=names)
        asked = strategy.configure_train(server_round, initial, ConfigRecord(), fake(dict.fromkeys(sorted(nodes))))
        return [names[m.metadata.dst_node_id] for m in asked]

    there, back = list(range(10, 18)), list(range(17, 9, -1))
    assert len(chosen(there, 1, 1)) == 4
    assert chosen(there, 1, 1) == chosen(back, 1, 1)
    assert len({tuple(chosen(there, seed, r)) for seed in range(3) for r in range(3)}) > 5


@every_strategy
def test_it_runs_whole_in_any_flower_app(build: Any, fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({node: make.trained(make.model(2), 3) for node in SITES})
    result = build(fraction_evaluate=0.0).start(grid, initial, num_rounds=2)
    assert result.arrays.keys() == initial.keys()
    assert result.train_metrics_clientapp[2]["loss"] == pytest.approx(0.5)
    assert len(grid.asked) == 6


@every_strategy
def test_a_round_without_training_asks_nobody(build: Any, fake: Any, make: Any, initial: ArrayRecord) -> None:
    strategy = build(fraction=0.0)
    assert list(strategy.configure_train(1, initial, ConfigRecord(), fake({1: make.failed(0, "")}))) == []
    assert strategy.aggregate_train(1, []) == (None, None)


def test_the_error_of_a_lost_node_names_the_node_and_not_the_server(fake: Any, make: Any, initial: ArrayRecord) -> None:
    error = make.failed(5, "Node Unavailable", as_server=True)
    grid = fake({21: make.trained(make.model(1), 2), 1 << 40: error})
    strategy = FedAvg()
    one_round(strategy, grid, initial)
    assert told(strategy.last_round)[f"node-{1 << 40}"] == ("failed", "NODE-LOST")
