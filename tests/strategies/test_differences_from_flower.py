"""The intended differences from Flower's classes, each shown on both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from flwr.serverapp.exception import AppExitException

from medfl import strategies
from medfl.errors import ExchangeError, QuorumError
from medfl.messages.records import to_array_record
from medfl.testing import FakeGrid
from medfl.testing.fake_grid import reply_with_content, reply_with_error, reply_with_model
from tests.strategies.differences import (
    START,
    buffers,
    evaluation_not_finite,
    far_replies,
    infinite_results,
    nodes,
    play,
    private_noise,
)
from tests.strategies.rounds import read
from tools.flower_differences import DIFFERENCES


def order_of_arrival() -> None:
    values = np.random.default_rng(4).standard_normal((5, 3), np.float32)
    models = {k: reply_with_model({"w": x}, 1 + k) for k, x in enumerate(values, start=2)}
    orders = [models, dict(reversed(models.items()))]
    theirs = [play(flower.FedAvg(), each, {"w": np.zeros(3, np.float32)})[0]["w"] for each in orders]
    ours = [play(strategies.FedAvg(), each, {"w": np.zeros(3, np.float32)})[0]["w"] for each in orders]
    assert (theirs[0] != theirs[1]).any()
    assert (ours[0] == ours[1]).all()


def integer_tensors() -> None:
    answers = {k: reply_with_model({"n": np.array(k)}, 1) for k in (2, 3)}
    theirs, ours = (play(home.FedAvg(), answers, {"n": np.array(0)})[0]["n"] for home in (flower, strategies))
    assert theirs == 2.5
    assert (ours, ours.dtype) == (3, np.int64)


def bad_replies() -> None:
    bad = [
        reply_with_model({"w": np.array([math.nan] * 3)}, 1),
        reply_with_content(RecordDict({"arrays": to_array_record({"w": np.ones(3)}), "metrics": MetricRecord({"loss": 0.1})})),
    ]
    assert np.isnan(play(flower.FedAvg(), nodes(1, 1) | {9: bad[0]})[0]["w"]).all()
    with pytest.raises(AppExitException):
        play(flower.FedAvg(), nodes(1, 1) | {9: bad[1]})
    for each in bad:
        strategy = strategies.FedAvg()
        assert play(strategy, nodes(1, 1) | {9: each})[0]["w"].tolist() == [1, 1, 1]
        assert [reply.status for reply in strategy.last_round.replies] == ["ok", "ok", "refused"]


def precision() -> None:
    answers = {k: reply_with_model({"w": np.full(3, x, np.float32)}, 1) for k, x in ((2, 1.0), (3, 1e8), (4, -1e8))}
    kinds = (flower.FedAvg(), strategies.FedAvg(), strategies.FedAvg(mean="float"))
    theirs, exact, fast = (play(strategy, answers, {"w": np.zeros(3, np.float32)})[0]["w"] for strategy in kinds)
    assert exact.tolist() == [np.float32(1 / 3)] * 3
    assert (abs(theirs - 1 / 3) > 0.1).all()
    assert (abs(fast - 1 / 3) > 0.1).all()


def value_range() -> None:
    answers = {k: reply_with_model({"w": np.full(3, x, np.float32)}, 1) for k, x in ((2, 3e38), (3, 1.0))}
    for kind in (flower.FedAvg(), strategies.FedAvg()):
        assert play(kind, answers, {"w": np.zeros(3, np.float32)})[0]["w"] == pytest.approx(1.5e38)
    strategy = strategies.FedAvg(mean="float")
    assert play(strategy, answers, {"w": np.zeros(3, np.float32)})[0]["w"].tolist() == [1, 1, 1]
    assert strategy.last_round.replies[0].reason.startswith("[UPDATE-RANGE]")


def weight_range() -> None:
    answers = {k: reply_with_model({"w": np.full(3, x)}, weight) for k, x, weight in ((2, 1.0, 5e-4), (3, 2.0, 1e-3))}
    for name in ("FedAvg", "FedMedian"):
        assert 1 < play(getattr(flower, name)(), answers)[0]["w"][0] < 2
        strategy = getattr(strategies, name)()
        assert play(strategy, answers)[0]["w"] == pytest.approx(2.0)
        assert strategy.last_round.replies[0].reason.startswith("[WEIGHT-RANGE]")


def weight_zero() -> None:
    answers = {**nodes(1, 1), 9: reply_with_model({"w": np.full(3, 7.0)}, 0), 10: reply_with_model({"w": np.full(3, 7.0)}, 0)}
    assert play(flower.FedMedian(), answers)[0]["w"].tolist() == [4, 4, 4]
    assert play(strategies.FedMedian(), answers)[0]["w"].tolist() == [1, 1, 1]
    nothing = {9: answers[9], 10: answers[10]}
    with pytest.raises(ZeroDivisionError):
        play(flower.FedAvg(), nothing)
    with pytest.raises(QuorumError, match="WEIGHT-ZERO"):
        play(strategies.FedAvg(), nothing)


def no_reply() -> None:
    failing = dict.fromkeys((2, 3), reply_with_error(2, "failed"))
    assert play(flower.FedAvg(), failing) == (None, None)
    with pytest.raises(QuorumError, match="QUORUM"):
        play(strategies.FedAvg(), failing)
    with pytest.raises(QuorumError, match="QUORUM"):
        play(strategies.FedAvg(quorum=2), nodes(1) | {9: failing[2]})


def too_few_nodes() -> None:
    class Waiting(Exception):
        pass

    def stop(_: float) -> None:
        raise Waiting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flwr.serverapp.strategy.strategy_utils.sleep", stop)
        with pytest.raises(Waiting):
            play(flower.FedAvg(), nodes(1))
    with pytest.raises(QuorumError, match=r"TOO-FEW-SITES.*Missing: bergen"):
        play(strategies.FedAvg(wait=0.0, site_names={2: "aachen", 3: "bergen"}), nodes(1))


def nobody_asked() -> None:
    options: dict[str, Any] = {"fraction_train": 0.1, "min_train_nodes": 0, "min_available_nodes": 0}
    model = to_array_record(START)
    asked = [
        len(list(home.FedAvg(**options).configure_train(1, model, ConfigRecord(), FakeGrid(nodes(1)))))
        for home in (flower, strategies)
    ]
    assert asked == [0, 1]


class GrowingGrid(FakeGrid):
    """A grid that has two nodes at the first looks, and all afterwards."""

    looks = 0

    def get_node_ids(self) -> list[int]:
        """Return the nodes that are connected by now."""
        self.looks += 1
        return list(self.answers)[: 2 if self.looks == 1 else None]


def sampling() -> None:
    def drawn(home: Any, **more: Any) -> list[tuple[int, ...]]:
        grid, model = FakeGrid(nodes(*range(8))), to_array_record(START)
        runs = [home.FedAvg(fraction_train=0.5, **more).configure_train(1, model, ConfigRecord(), grid) for _ in range(20)]
        return [tuple(sorted(message.metadata.dst_node_id for message in messages)) for messages in runs]

    assert len(set(drawn(flower))) > 1
    assert len(set(drawn(strategies, seed=1))) == 1
    assert set(drawn(strategies, seed=1)) != set(drawn(strategies, seed=2))
    options: dict[str, Any] = {"fraction_train": 0.5, "min_available_nodes": 8}
    asked = []
    for home in (flower, strategies):
        grid = GrowingGrid(nodes(*range(8)))
        asked.append(len(list(home.FedAvg(**options).configure_train(1, to_array_record(START), ConfigRecord(), grid))))
    assert asked == [2, 4]


def metric_functions() -> None:
    seen: list[list[RecordDict]] = []

    def note(contents: list[RecordDict], _: str) -> MetricRecord:
        seen.append(contents)
        return MetricRecord()

    more = {9: reply_with_model(START, 1, extra=1.0)}
    with pytest.raises(AppExitException):
        play(flower.FedAvg(train_metrics_aggr_fn=note), nodes(1, 2) | more)
    play(flower.FedAvg(train_metrics_aggr_fn=note), nodes(1, 2))
    play(strategies.FedAvg(train_metrics_aggr_fn=note), nodes(1, 2) | more)
    theirs, ours = seen
    assert all(content.array_records for content in theirs)
    assert not any(content.array_records for content in ours)
    assert [set(record) for content in ours for record in content.metric_records.values()] == [{"num-examples", "loss"}] * 3


def several_array_records() -> None:
    records = {"arrays": to_array_record({"w": np.ones(3)}), "more": to_array_record({"c": np.ones(2)})}
    answers = dict.fromkeys((2, 3), reply_with_content(RecordDict({**records, "metrics": MetricRecord({"num-examples": 1})})))
    with pytest.raises(AppExitException):
        play(flower.FedAvg(), answers)
    assert play(strategies.FedAvg(), answers)[0]["w"].tolist() == [1, 1, 1]


def not_configured() -> None:
    grid = FakeGrid(nodes(1, 3))
    asked = list(flower.FedAvg().configure_train(1, to_array_record(START), ConfigRecord(), grid))
    replies = list(grid.send_and_receive(asked))
    with pytest.raises(ExchangeError, match="NOT-CONFIGURED"):
        strategies.FedAvg().aggregate_train(1, replies)
    assert read(flower.FedAvg().aggregate_train(1, replies)[0])["w"].tolist() == [2, 2, 2]


def config_record() -> None:
    for home, keys in ((flower, {"lr", "server-round", "proximal-mu"}), (strategies, {"lr"})):
        config = ConfigRecord({"lr": 0.1})
        list(home.FedProx(proximal_mu=0.1).configure_train(1, to_array_record(START), config, FakeGrid(nodes(1, 1))))
        assert set(config) == keys


def optimizer_start() -> None:
    for home, ends in ((flower, 2.0), (strategies, 11.0)):
        strategy = home.FedAvgM(server_learning_rate=0.5)
        assert play(strategy, nodes(2, 2))[0]["w"][0] == 1.0  # half of the way from 0 to 2
        assert play(strategy, nodes(3, 3), {"w": np.full(3, 19.0)}, 2)[0]["w"][0] == ends


def optimizer_state() -> None:
    for name in ("FedAvgM", "FedAdam", "FedYogi", "FedAdagrad"):
        options = {"server_momentum": 0.5} if name == "FedAvgM" else {}
        assert not hasattr(getattr(flower, name)(**options), "state")
        first, second = (getattr(strategies, name)(**options) for _ in range(2))
        made, _ = play(first, nodes(1, 2))
        second.restore({key: np.array(tensor) for key, tensor in first.state().items()})
        ends = [play(each, nodes(2, 2), made, 2)[0]["w"] for each in (first, second)]
        assert (ends[0] == ends[1]).all()
        assert (ends[0] != play(getattr(strategies, name)(**options), nodes(2, 2), made, 2)[0]["w"]).any()


def nothing_trimmed() -> None:
    assert play(flower.FedTrimmedAvg(beta=0.2), nodes(1, 1, 7))[0]["w"].tolist() == [3, 3, 3]
    with pytest.raises(QuorumError, match="TRIM-TOO-FEW"):
        play(strategies.FedTrimmedAvg(beta=0.2), nodes(1, 1, 7))
    assert play(strategies.FedTrimmedAvg(beta=0.0), nodes(1, 1, 7))[0]["w"].tolist() == [3, 3, 3]


def krum_too_few() -> None:
    for name in ("Krum", "MultiKrum"):
        assert play(getattr(flower, name)(num_malicious_nodes=1), nodes(1, 2, 9))[0] is not None
        with pytest.raises(QuorumError, match="KRUM-TOO-FEW"):
            play(getattr(strategies, name)(num_malicious_nodes=1), nodes(1, 2, 9, 3))


def krum_distances() -> None:
    rng = np.random.default_rng(1)
    large = rng.standard_normal(5000).astype(np.float32) * 10
    spread = {2: 0.02, 3: 0.002, 4: 0.002, 5: 0.002}  # node 2 is ten times as far from the others as they are from each other
    models = {k: large + np.float32(x) * rng.standard_normal(5000).astype(np.float32) for k, x in spread.items()}
    answers = {k: reply_with_model({"w": model, "n": np.array(k)}, 1) for k, model in models.items()}
    strategy = strategies.MultiKrum(num_nodes_to_select=3)
    play(strategy, answers, {"w": large, "n": np.array(0)})
    assert strategy.selected_sites == ("node-3", "node-4", "node-5")
    from flwr.serverapp.strategy.multikrum import compute_distances

    assert (compute_distances([to_array_record({"w": model}) for model in models.values()]) < 0).any()


def krum_select_all() -> None:
    assert play(flower.MultiKrum(num_nodes_to_select=0), nodes(1, 2, 9))[0] == {}
    strategy = strategies.MultiKrum(num_malicious_nodes=1, num_nodes_to_select=0)
    play(strategy, nodes(1, 2, 3, 4, 99))
    assert strategy.selected_sites == ("node-2", "node-3", "node-4", "node-5")


def krum_select_too_many() -> None:
    assert play(flower.MultiKrum(num_nodes_to_select=5), nodes(1, 2, 3))[0]["w"].tolist() == [2, 2, 2]
    with pytest.raises(QuorumError, match="KRUM-TOO-FEW"):
        play(strategies.MultiKrum(num_nodes_to_select=5), nodes(1, 2, 3))


def krum_metrics() -> None:
    answers = {k: reply_with_model({"w": np.full(3, float(x))}, 1, loss=x) for k, x in ((2, 1.0), (3, 2.0), (4, 9.0))}
    for name in ("Krum", "MultiKrum"):
        assert play(getattr(flower, name)(), answers)[1]["loss"] in (1.0, 2.0)
        assert play(getattr(strategies, name)(), answers)[1]["loss"] == pytest.approx(4.0)


def loss_missing() -> None:
    answers = nodes(1, 1, train_loss=0.5) | {9: reply_with_model({"w": np.full(3, 7.0)}, 1, other=0.5)}
    with pytest.raises(AppExitException):
        play(flower.QFedAvg(client_learning_rate=1.0, q=0.0), answers)
    assert play(strategies.QFedAvg(client_learning_rate=1.0, q=0.0), answers)[0]["w"].tolist() == [1, 1, 1]
    for loss in (-1.0, math.nan):
        answers = nodes(1, 1, train_loss=0.5) | {9: reply_with_model({"w": np.full(3, 7.0)}, 1, train_loss=loss)}
        with np.errstate(invalid="ignore"):
            assert not np.isfinite(play(flower.QFedAvg(client_learning_rate=1.0, q=0.5), answers)[0]["w"]).all()
        assert np.isfinite(play(strategies.QFedAvg(client_learning_rate=1.0, q=0.5), answers)[0]["w"]).all()


SHOWN: dict[str, Callable[[], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        order_of_arrival,
        integer_tensors,
        buffers,
        precision,
        value_range,
        far_replies,
        infinite_results,
        weight_range,
        bad_replies,
        weight_zero,
        no_reply,
        evaluation_not_finite,
        private_noise,
        too_few_nodes,
        nobody_asked,
        sampling,
        metric_functions,
        several_array_records,
        not_configured,
        config_record,
        optimizer_start,
        optimizer_state,
        nothing_trimmed,
        krum_too_few,
        krum_distances,
        krum_select_all,
        krum_select_too_many,
        krum_metrics,
        loss_missing,
    )
}


def test_every_difference_is_shown_and_every_one_that_is_shown_is_on_the_page() -> None:
    assert [difference.key for difference in DIFFERENCES] == list(SHOWN)


@pytest.mark.parametrize("key", SHOWN)
def test_a_difference_is_as_the_page_says(key: str) -> None:
    SHOWN[key]()
