"""FedAvg: Flower's numbers, and what Flower does not do."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg

from medfl.errors import ExchangeError
from medfl.grids.streaming import StreamingGrid
from medfl.messages.records import to_array_record
from medfl.messages.replies import describe_error
from medfl.strategies.base.site_sampling import choose_sites
from medfl.strategies.fedavg import FedAvg
from medfl.testing.strategy_contract import ANY_NUMBER


def run(strategy: FedAvg, grid: Any, arrays: ArrayRecord) -> tuple[ArrayRecord, MetricRecord]:
    messages = strategy.configure_train(1, arrays, ConfigRecord(), grid)
    result, metrics = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert result is not None
    assert metrics is not None
    return result, metrics


def test_it_equals_flower_within_float32_rounding(fake: Any, make: Any) -> None:
    rng = np.random.default_rng(3)
    models = [{"a": rng.standard_normal((40, 50), np.float32), "b": rng.standard_normal(7, np.float32)} for _ in range(6)]
    weights = [3, 50, 11, 1, 200, 7]
    grid = fake({n: make.trained(m, w, accuracy=w / 300) for n, (m, w) in enumerate(zip(models, weights, strict=True), 5)})
    start = to_array_record({k: np.zeros_like(v) for k, v in models[0].items()})
    ours, our_metrics = run(FedAvg(), grid, start)
    flower = FlowerFedAvg()
    replies = grid.send_and_receive(flower.configure_train(1, start, ConfigRecord(), grid))
    theirs, their_metrics = flower.aggregate_train(1, replies)
    assert theirs is not None
    assert their_metrics is not None
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_allclose(ours[name].numpy(), theirs[name].numpy(), rtol=1e-6, atol=1e-7)
    assert our_metrics.keys() == their_metrics.keys()
    for key in their_metrics:
        assert our_metrics[key] == pytest.approx(their_metrics[key])


def test_a_lone_client_gets_its_own_model_back(fake: Any, make: Any, initial: ArrayRecord) -> None:
    result, _ = run(FedAvg(**ANY_NUMBER), fake({5: make.trained(make.model(3.25), 11)}), initial)
    for name, value in make.model(3.25).items():
        assert result[name].numpy().dtype == value.dtype
        np.testing.assert_array_equal(result[name].numpy(), value)


def test_the_mean_by_hand(fake: Any, make: Any, initial: ArrayRecord) -> None:
    answers = {5: make.trained(make.model(1), 3), 6: make.trained(make.model(5), 1)}
    result, metrics = run(FedAvg(), fake(answers), initial)
    assert result["weight"].numpy().tolist() == [[2.0] * 3] * 2
    assert result["scale"].numpy().tolist() == 2.0
    assert result["scale"].shape == ()
    assert result["steps"].numpy().tolist() == 5  # the largest counter
    assert dict(metrics) == {"loss": 0.5}
    equal, _ = run(FedAvg(weighted_by_key=""), fake(answers), initial)
    assert equal["scale"].numpy().tolist() == 3.0


def test_the_weight_decides_what_counts(fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake(
        {
            5: make.trained(make.model(1), 3),
            6: make.trained(make.model(9), 0),
            7: make.trained(make.model(9), 2, key="other"),
            8: make.trained(make.model(9), -1),
            9: make.trained(make.model(9), float("nan")),
            10: make.trained({**make.model(1), "scale": np.array(np.inf, np.float32)}, 1),
        }
    )
    strategy = FedAvg()
    result, _ = run(strategy, grid, initial)
    assert result["scale"].numpy().tolist() == 1.0
    codes = {r.site: r.reason.partition("]")[0] for r in strategy.last_round.replies}
    assert codes == {
        "node-5": "",
        "node-6": "[WEIGHT-ZERO",
        "node-7": "[WEIGHT-MISSING",
        "node-8": "[WEIGHT-RANGE",
        "node-9": "[WEIGHT-RANGE",
        "node-10": "[UPDATE-NONFINITE",
    }


def test_only_metrics_that_all_replies_have_are_averaged(fake: Any, make: Any, initial: ArrayRecord) -> None:
    arrays = to_array_record(make.model(1))

    def answer(**metrics: Any) -> Any:
        return make.contents(RecordDict({"arrays": arrays, "metrics": MetricRecord(metrics)}))

    both = {"num-examples": 1, "loss": 0.5, "bins": [1, 2]}
    grid = fake({5: answer(**both), 6: answer(**both | {"num-examples": 3, "bins": [5, 2], "extra": 1.0})})
    _, metrics = run(FedAvg(), grid, initial)
    assert dict(metrics) == {"loss": 0.5, "bins": [4.0, 2.0]}


def test_evaluation_keeps_sites_that_have_nothing_to_say(fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({5: make.trained(make.model(1), 4), 6: make.trained(make.model(1), 0, loss=float("nan"))})
    strategy = FedAvg(quorum=2)
    replies = grid.send_and_receive(strategy.configure_evaluate(1, initial, ConfigRecord(), grid))
    metrics = strategy.aggregate_evaluate(1, replies)
    assert metrics is not None
    assert dict(metrics) == {"loss": 0.5}
    assert [(r.status, r.weight) for r in strategy.last_evaluation.replies] == [("ok", 4), ("ok", 0)]
    strategy.configure_evaluate(2, initial, ConfigRecord(), grid)
    assert strategy.aggregate_evaluate(2, []) is None


def test_an_evaluation_in_which_nobody_has_a_case_has_no_metrics(fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid, strategy = fake({5: make.trained(make.model(1), 0)}), FedAvg(**ANY_NUMBER)
    replies = grid.send_and_receive(strategy.configure_evaluate(1, initial, ConfigRecord(), grid))
    assert strategy.aggregate_evaluate(1, replies) is None


def test_a_wrong_option_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="quorum"):
        FedAvg(quorum=0)
    with pytest.raises(ValueError, match="exact, float"):
        FedAvg(mean="median")  # type: ignore[arg-type]


def test_replies_without_a_question_are_an_error(fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({5: make.trained(make.model(1), 4)})
    strategy = FedAvg(**ANY_NUMBER)
    replies = list(grid.send_and_receive(strategy.configure_train(1, initial, ConfigRecord(), grid)))
    strategy.aggregate_train(1, replies)
    with pytest.raises(ExchangeError, match="NOT-CONFIGURED"):
        strategy.aggregate_train(1, replies)


def test_one_reply_is_held_at_a_time(fake: Any, make: Any, initial: ArrayRecord) -> None:
    grid = fake({n: make.trained(make.model(n), 2) for n in range(5, 10)})
    strategy = FedAvg()
    messages = strategy.configure_train(1, initial, ConfigRecord(), grid)
    alive: list[weakref.ref[ArrayRecord]] = []
    most = 0

    def watched() -> Iterator[Message]:
        nonlocal most
        for found in map(grid.pull_messages, [[i] for i in grid.push_messages(messages)]):
            replies = list(found)
            del found
            most = max(most, 1 + sum(r() is not None for r in alive))
            alive.append(weakref.ref(replies[0].content["arrays"]))
            yield replies.pop()

    gc.disable()  # nothing may be left to the collector: it comes too late for models
    try:
        strategy.aggregate_train(1, watched())
    finally:
        gc.enable()
    assert most == 1


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (2, "<class 'ValueError'>:<'patient Jane Doe'>", "[CLIENT-ERROR] The client app raised an exception (ValueError)."),
        (
            2,
            "[NII-TRUNCATED] The details are in the log of the site.",
            "[NII-TRUNCATED] The details are in the log of the site.",
        ),
        (2, "[Doe, Jane] /data", "[CLIENT-ERROR] The client app raised an exception."),
        (42, None, "[ERROR-42] An error came instead of a reply."),
    ],
)
def test_free_text_of_an_error_is_not_repeated(code: int, reason: str | None, text: str) -> None:
    assert describe_error(Error(code, reason)) == text


def test_it_is_started_with_whatever_the_installed_flower_takes() -> None:
    given = dict.fromkeys(inspect.signature(FlowerFedAvg.start).parameters)
    assert inspect.signature(FedAvg.start).bind(**given).arguments.keys() >= {"grid", "initial_arrays", "evaluate_fn"}


def test_sites_are_chosen_by_share_and_by_the_least() -> None:
    sites = {n: f"site-{n}" for n in range(10)}
    assert choose_sites(sites, 1.0, 1, 0, "x") == list(range(10))
    assert len(choose_sites(sites, 0.3, 1, 0, "x")) == 3
    assert len(choose_sites(sites, 0.29, 1, 0, "x")) == 2
    assert len(choose_sites(sites, 0.01, 2, 0, "x")) == 2


def test_a_streaming_grid_waits_for_what_comes_later(fake: Any, make: Any) -> None:
    grid = fake({5: make.trained(make.model(1), 4)})
    looks = 0
    pull = grid.pull_messages

    def slow(ids: Any) -> Any:
        nonlocal looks
        looks += 1
        return pull(ids) if looks >= 3 else []

    grid.pull_messages = slow
    message = Message(RecordDict(), dst_node_id=5, message_type="train")
    assert len(list(StreamingGrid(grid).send_and_receive([message], timeout=5))) == 1
    assert looks == 3
    grid.answers[5] = lambda _: None
    assert list(StreamingGrid(grid).send_and_receive([message], timeout=0.05)) == []


@pytest.mark.parametrize(
    ("site_info", "expected"),
    [
        ({"name": "a", "excluded": "LBL-EMPTY=<10"}, {"LBL-EMPTY": -10}),
        ({"name": "a"}, {}),
        ({"name": "a", "excluded": ""}, {}),
        ({"excluded": "/data/DOE_JANE=3"}, {}),
        (None, {}),
    ],
)
def test_the_record_tells_what_a_site_left_out_and_takes_clients_that_do_not(
    site_info: dict[str, str] | None, expected: dict[str, int], fake: Any, make: Any
) -> None:
    def answer(message: Message) -> Message:
        reply = make.trained({"a": np.ones(2, np.float32)}, 3)(message)
        if site_info is not None:
            reply.content["site"] = ConfigRecord(dict(site_info))
        return reply

    strategy = FedAvg(**ANY_NUMBER)
    run(strategy, fake({5: answer}), to_array_record({"a": np.zeros(2, np.float32)}))
    (reply,) = strategy.last_round.replies
    assert (reply.status, reply.excluded) == ("ok", expected)
