"""FedBuff: a round ends with a full buffer, and who is slow counts later, and less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message

from medfl.errors import QuorumError
from medfl.grids.streaming import StreamingGrid
from medfl.messages.records import to_array_record
from medfl.strategies.fedbuff import FedBuff
from medfl.strategies.transforms.update_decoding import Int8
from medfl.testing.fake_grid import FakeGrid
from tests.strategies.packing import packed
from tests.strategies.rounds import Model, read

SITES = {5: "aachen", 6: "bergen", 7: "cadiz"}


class SlowGrid(FakeGrid):
    """Nodes whose replies can be held back."""

    held: frozenset[int] = frozenset()

    def pull_messages(self, message_ids: Any) -> list[Message]:
        asked = {m.metadata.message_id: m.metadata.dst_node_id for m in self.messages}
        return list(super().pull_messages([i for i in message_ids if asked[i] not in self.held]))


def plus(number: float, make: Any) -> Any:
    return lambda message: make.trained({"w": read(message.content["arrays"])["w"] + number}, 1)(message)


class Study:
    """A federation with a strategy, round by round."""

    def __init__(self, make: Any, **options: Any) -> None:
        self.grid = SlowGrid({5: plus(1, make), 6: plus(10, make), 7: plus(100, make)})
        self.strategy = FedBuff(site_names=SITES, round_timeout=0.3, **options)
        self.model: Model = {"w": np.zeros(1)}
        self.round = 0

    def go(self, held: set[int]) -> float:
        self.grid.held, self.round = frozenset(held), self.round + 1
        streaming = StreamingGrid(self.grid)
        messages = self.strategy.configure_train(self.round, to_array_record(self.model), ConfigRecord(), streaming)
        replies = streaming.send_and_receive(messages, timeout=0.3)
        self.model = read(self.strategy.aggregate_train(self.round, replies)[0])
        return float(self.model["w"][0])

    def asked(self) -> list[tuple[int, int]]:
        return [(m.metadata.dst_node_id, int(m.content["config"]["server-round"])) for m in self.grid.messages]


def test_who_is_slow_counts_later_and_less(make: Any) -> None:
    study = Study(make, buffer=2)
    assert study.go({7}) == pytest.approx(5.5)
    assert [(r.site, r.status) for r in study.strategy.last_round.replies] == [
        ("aachen", "ok"),
        ("bergen", "ok"),
        ("cadiz", "late"),
    ]
    assert "Still training" in study.strategy.last_round.reasons()
    assert study.strategy.busy_sites() == {"cadiz"}
    # cadiz started from 0 a round ago: (2**-0.5 * 100 + 1) / 2 on top of 5.5
    assert study.go({6}) == pytest.approx(5.5 + (100 * 2**-0.5 + 1) / 2)
    assert study.asked() == [(5, 1), (6, 1), (7, 1), (5, 2), (6, 2)]


def test_a_site_at_work_is_not_asked_again_until_it_answers(make: Any) -> None:
    study = Study(make, buffer=1)
    for _ in range(3):
        study.go({6, 7})
    assert [asked for asked in study.asked() if asked[0] == 7] == [(7, 1)]
    for _ in range(4):
        study.go(set())
    assert len([asked for asked in study.asked() if asked[0] == 7]) > 1


def test_when_all_answer_in_time_it_is_fedavg_with_a_learning_rate(make: Any) -> None:
    assert Study(make, buffer=3).go(set()) == pytest.approx(37)
    assert Study(make, buffer=3, server_learning_rate=0.5).go(set()) == pytest.approx(18.5)


@pytest.mark.parametrize(
    ("sent", "reply", "weights"), [(1e4, 1e-3, [0.1, 0.3]), (1e6, 1e-5, [0.7, 1.1]), (1.0, 1 / 3, [10, 20])]
)
def test_with_fractions_as_weights_no_small_value_is_lost(sent: float, reply: float, weights: list[float], make: Any) -> None:
    trained = {"w": np.array([reply], np.float32)}
    grid = FakeGrid({5 + k: make.trained(trained, weight) for k, weight in enumerate(weights)})
    strategy = FedBuff(site_names=SITES, buffer=2)
    messages = list(strategy.configure_train(1, to_array_record({"w": np.array([sent], np.float32)}), ConfigRecord(), grid))
    assert read(strategy.aggregate_train(1, list(grid.send_and_receive(messages)))[0])["w"].tolist() == trained["w"].tolist()


def test_half_of_the_sites_make_a_round_by_default(make: Any) -> None:
    study = Study(make)
    assert study.go({5}) == pytest.approx(55)


def test_when_nobody_answers_the_round_fails(make: Any) -> None:
    with pytest.raises(QuorumError, match="QUORUM"):
        Study(make).go({5, 6, 7})


def test_only_messages_of_this_round_are_counted_as_sent(make: Any) -> None:
    study = Study(make, buffer=2)
    study.go({7})
    all_three = study.strategy.last_round.bytes_down
    study.go({6})
    assert study.strategy.last_round.bytes_down == pytest.approx(all_three * 2 / 3)


def test_a_packed_update_that_is_late_is_one_of_the_model_it_started_from(make: Any) -> None:
    def packs(number: float) -> Any:
        def answer(message: Message) -> Message:
            received = read(message.content["arrays"])
            return make.trained(dict(packed("int8", {"w": received["w"] + number}, received)), 1)(message)

        return answer

    study = Study(make, buffer=2, exponent=0.0, transforms=[Int8()])
    study.grid.answers = {5: packs(1), 6: packs(10), 7: packs(100)}
    assert study.go({7}) == pytest.approx(5.5, rel=1e-6)
    assert study.go({6}) == pytest.approx(5.5 + 50.5, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_late_reply_that_is_not_finite_is_left_out(value: float, make: Any) -> None:
    study = Study(make, buffer=2)
    study.go({7})
    study.grid._replies = {
        key: make.trained({"w": np.full(1, value)}, 1)(next(m for m in study.grid.messages if m.metadata.message_id == key))
        for key in study.grid._replies
    }
    assert study.go(set()) == pytest.approx(5.5 + 5.5)
    assert "UPDATE-NONFINITE" in study.strategy.last_round.reasons()


def test_a_grid_that_waits_for_all_hands_over_late_replies_once(make: Any) -> None:
    study = Study(make)
    plain = study.grid
    for server_round, held in ((1, {7}), (2, set())):
        plain.held = frozenset(held)
        messages = study.strategy.configure_train(server_round, to_array_record(study.model), ConfigRecord(), plain)
        replies = plain.pull_messages(plain.push_messages(messages))
        study.model = read(study.strategy.aggregate_train(server_round, replies)[0])
        assert [r.status for r in study.strategy.last_round.replies] == ["ok", "ok", "late" if held else "ok"]
    assert study.model["w"][0] == pytest.approx(5.5 + (1 + 10 + 100 * 2**-0.5) / 3)


def test_the_log_does_not_call_a_site_at_work_lost(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    study = Study(make, buffer=2)
    with caplog.at_level("WARNING", "flwr"):
        study.go({7})
    assert "cadiz: late, [NO-REPLY] Still training" in caplog.text


def test_an_old_reply_brings_its_running_statistics_as_they_are(make: Any) -> None:
    """Moved to the present as a change, as parameters are, a variance could fall below zero."""
    model: Model = {"w": np.zeros(1), "running_var": np.ones(1)}
    variances = {5: iter([0.1, 0.2]), 6: iter([0.3])}

    def answer(node: int) -> Any:
        return lambda m: make.trained(
            {"w": read(m.content["arrays"])["w"] + 1, "running_var": np.array([next(variances[node])])}, 1
        )(m)

    grid, strategy = SlowGrid({5: answer(5), 6: answer(6)}), FedBuff(round_timeout=0.3, buffer=1)
    for number, held in ((1, {6}), (2, {5})):
        grid.held, streaming = frozenset(held), StreamingGrid(grid)
        messages = strategy.configure_train(number, to_array_record(model), ConfigRecord(), streaming)
        model = read(strategy.aggregate_train(number, streaming.send_and_receive(messages, timeout=0.3))[0])
        assert model["running_var"] == pytest.approx(0.1 * (2 * number - 1))
