"""Values far beyond those of a network: the site is left out, or the round is refused and nothing of it is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord

from medfl import strategies
from medfl.errors import ExchangeError, QuorumError
from medfl.messages.records import to_array_record
from medfl.testing.fake_grid import Answer, FakeGrid, reply_with_model
from tests.strategies.rounds import Model, play

ZERO: Model = {"w": np.zeros(2, np.float32)}
BEYOND_THE_MEAN = ("FedAvgM", "FedAdam", "FedYogi", "FedAdagrad", "FedNova", "FedDyn", "Scaffold", "FedBuff")


def answer(value: float, control: float = 0.0, steps: int = 5, dtype: Any = np.float32) -> Answer:
    """Return a site's answer that all strategies take."""
    reply = reply_with_model({"w": np.full(2, value, dtype)}, 1000, **{"train.steps": steps})

    def act(message: Any) -> Any:
        made = reply(message)
        made.content["control"] = to_array_record({"w": np.full(2, control, np.float32)})
        made.content["counted"] = to_array_record({"round": np.array(0)})
        return made

    return act


def build(name: str, **more: Any) -> Any:
    return getattr(strategies, name)(**more, **({"buffer": 3} if name == "FedBuff" else {}))


@pytest.mark.parametrize("value", [1e20, -1e36, 3e38])
@pytest.mark.parametrize("name", BEYOND_THE_MEAN)
def test_a_finite_reply_that_is_far_off_is_left_out_and_spoils_no_later_round(name: str, value: float) -> None:
    strategy = build(name)
    first, then = {k: answer(value if k == 2 else 1.0) for k in (2, 3, 4)}, {k: answer(1.0) for k in (2, 3, 4)}
    with_it = play(strategy, ZERO, [lambda _: first, lambda _: then, lambda _: then])
    without_it = play(build(name), ZERO, [lambda _: first | {2: answer(np.nan)}])
    assert with_it[0]["w"].tolist() == without_it[0]["w"].tolist()
    assert 0 < with_it[-1]["w"][0] < 100
    assert all(np.isfinite(x).all() for x in strategy.state().values())


def test_a_site_whose_control_variate_is_far_off_is_left_out() -> None:
    strategy = strategies.Scaffold()
    play(strategy, ZERO, [lambda _: {2: answer(1.0, control=1e36), 3: answer(1.0)}])
    assert [reply.reason[:14] for reply in strategy.last_round.replies] == ["[UPDATE-RANGE]", ""]


def run_round(strategy: Any, number: int, sent: Model, answers: dict[int, Answer]) -> Any:
    messages = strategy.configure_train(number, to_array_record(sent), ConfigRecord(), grid := FakeGrid(answers))
    return strategy.aggregate_train(number, list(grid.send_and_receive(messages)))


@pytest.mark.parametrize("name", ["FedAvgM", "FedAdam", "FedAdagrad", "FedNova", "FedDyn", "Scaffold"])
def test_a_round_whose_result_is_out_of_range_is_refused_and_its_state_is_that_from_before(name: str) -> None:
    more = {"server_momentum": 0.5} if name == "FedAvgM" else {"server_learning_rate": 2.0} if name == "Scaffold" else {}
    strategy = build(name, **more)
    low: Model = {"w": np.full(2, -3e38, np.float32)}
    run_round(strategy, 1, ZERO, {2: answer(0.5), 3: answer(0.25)})
    before = {key: np.array(x) for key, x in strategy.state().items()}
    with pytest.raises(QuorumError, match=r"UPDATE-RANGE.*round 2.*largest values came from node-3"):
        run_round(strategy, 2, low, {2: answer(2.9e38), 3: answer(3.1e38, steps=50)})
    after = strategy.state()
    assert {key: x.tolist() for key, x in after.items()} == {key: x.tolist() for key, x in before.items()}
    assert strategy.last_model["w"].numpy().tolist() == low["w"].tolist()


def test_a_site_that_was_left_out_is_not_blamed_for_the_round() -> None:
    strategy, low = build("FedAvgM", server_momentum=0.5, server_learning_rate=0.5), {"w": np.full(2, -3e38, np.float32)}
    other_layout = reply_with_model({"w": np.full(3, 3.3e38, np.float32)}, 1000)
    with pytest.raises(QuorumError, match="largest values came from node-3"):
        run_round(strategy, 1, low, {2: answer(2.9e38), 3: answer(3.1e38), 4: other_layout})


def test_no_strategy_returns_a_model_beyond_its_type() -> None:
    class Doubling(strategies.FedAvg):
        def new_tensor(self, name: str, mean: Any) -> Any:
            return mean * mean.dtype.type(2)

    half: Model = {"w": np.zeros(2, np.float16)}
    with pytest.raises(QuorumError, match=r"UPDATE-RANGE.*the new model"):
        run_round(Doubling(), 1, half, dict.fromkeys((2, 3), answer(6e4, dtype=np.float16)))


@pytest.mark.parametrize("name", BEYOND_THE_MEAN)
def test_large_numbers_of_other_units_are_taken(name: str) -> None:
    strategy = build(name)
    play(strategy, {"w": np.full(2, 1e9, np.float32)}, [lambda _: {k: answer(1e12) for k in (2, 3, 4)}])
    assert strategy.last_round.reasons() == ""


def test_a_first_model_that_is_not_finite_is_refused_before_anything_is_sent() -> None:
    grid = FakeGrid({2: answer(1.0), 3: answer(1.0)})
    with pytest.raises(ExchangeError, match=r"MODEL-NONFINITE.*'w'"):
        strategies.FedAvg().start(grid, to_array_record({"w": np.full(2, np.inf)}))
    assert grid.messages == []
