"""Contribution of each site: by hand, and on a federation whose score is the model's one weight."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MessageType

from medfl import metrics
from medfl.aggregate import DiskReplies
from medfl.errors import ConfigError
from medfl.flower import compat
from medfl.messages import records
from medfl.messages.records import RoundRecord, to_array_record
from medfl.runs.run_folder import Run
from medfl.server.contribution_measures import Contributions, alignments, all_coalitions, leave_one_out, shapley
from medfl.server.federation import Federation
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.transforms.norm_filters import NormOutlierFilter
from medfl.study import StudyApp
from medfl.study.sections import Contribution
from medfl.testing import FakeGrid, sites
from medfl.testing.fake_grid import reply_with_model

SITES = {21: "aachen", 22: "bergen", 23: "cadiz"}
UPDATES, WEIGHTS = {"aachen": 0.1, "bergen": 0.2, "cadiz": 0.4}, {"aachen": 1.0, "bergen": 1.0, "cadiz": 2.0}
GAME = {"": 0, "a": 1, "b": 2, "c": 0, "ab": 4, "ac": 2, "bc": 2, "abc": 6}


def utility(game: Mapping[str, float]) -> dict[frozenset[str], float]:
    return {frozenset(players): value for players, value in game.items()}


def test_shapley_values_are_those_of_a_game_solved_by_hand() -> None:
    # a joins in the orders abc acb bac bca cab cba: 1 1 2 4 2 4; b: 3 4 2 2 4 2; c: 2 1 2 0 0 0
    assert shapley(utility(GAME), "abc") == pytest.approx({"a": 14 / 6, "b": 17 / 6, "c": 5 / 6})
    assert leave_one_out(utility(GAME), "abc") == {"a": 4, "b": 4, "c": 2}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shapley_values_add_up_and_are_those_of_all_orders(count: int) -> None:
    players, rng = "abcdef"[:count], np.random.default_rng(count)
    random = {coalition: float(rng.random()) for coalition in all_coalitions(players)}
    values = shapley(random, players)
    assert math.fsum(values.values()) == pytest.approx(random[frozenset(players)] - random[frozenset()])
    orders = list(itertools.permutations(players))
    for player in players:
        before = [frozenset(order[: order.index(player)]) for order in orders]
        assert values[player] == pytest.approx(np.mean([random[b | {player}] - random[b] for b in before]))


def test_players_who_bring_the_same_get_the_same_and_who_brings_nothing_nothing() -> None:
    game = {coalition: float(len(coalition - {"d"})) ** 2 for coalition in all_coalitions("abcd")}
    assert shapley(game, "abcd") == pytest.approx({"a": 3, "b": 3, "c": 3, "d": 0})


def store_updates(updates: Mapping[str, list[float]], start: float = 5.0) -> DiskReplies:
    stored = DiskReplies({"w": np.full(2, start, np.float32), "steps": np.array(0)})
    for site, update in updates.items():
        stored.add(site, {"w": np.array(update, np.float32) + np.float32(start), "steps": np.array(1)}, 1.0)
    return stored


def test_alignment_is_the_cosine_with_the_mean_of_the_others() -> None:
    with store_updates({"c": [1, 1], "a": [1, 0], "b": [0, 1]}) as stored:
        result = alignments(stored, {"a": 1.0, "b": 1.0, "c": 2.0})
    # of a the others are (0, 1) and twice (1, 1): (2, 3)
    assert result["a"]["value"] == pytest.approx(2 / math.sqrt(13))
    assert result["b"]["value"] == pytest.approx(2 / math.sqrt(13))
    assert result["c"]["value"] == pytest.approx(1)
    weighted = 2 * math.sqrt(2)
    assert [result[site]["norm-share"] for site in "abc"] == pytest.approx([x / (2 + weighted) for x in (1, 1, weighted)])


def test_alignment_leaves_out_who_did_not_count_and_is_not_defined_for_one_alone() -> None:
    with store_updates({"a": [1, 0], "b": [-1, 0], "c": [0, 7]}) as stored:
        assert {site: x["value"] for site, x in alignments(stored, {"a": 1.0, "b": 1.0}).items()} == {"a": -1, "b": -1}
        (alone,) = alignments(stored, {"a": 1.0}).values()
        assert math.isnan(alone["value"])
        assert alone["norm-share"] == 1
    with store_updates({"a": [0, 0], "b": [0, 0]}) as stored:
        assert all(math.isnan(x) for result in alignments(stored, {"a": 1.0, "b": 1.0}).values() for x in result.values())


@pytest.fixture(autouse=True)
def _process() -> None:
    compat.identify_process(1, compat.SERVER_NODE_ID)


class Stage:
    """A federation of three whose update is one number, and who score a model by that number."""

    def __init__(self, folder: Path, method: str, every: int = 1, transforms: Any = ()) -> None:
        self.study = sites.make_study(contribution={"method": method, "every": every})
        self.silent: set[str] = set()  # sites that never score
        grid = FakeGrid({node: self._answer(site) for node, site in SITES.items()})
        self.run = Run.create(folder, StudyApp(self.study))
        self.federation = Federation(grid, self.run, SITES)
        self.measured = Contributions(self.federation)
        self.strategy = FedAvg(site_names=SITES, transforms=(*transforms, self.measured.recorder))
        self.grid, self.sent = grid, to_array_record({"w": np.zeros(1, np.float64)})

    def _answer(self, site: str) -> Callable[[Message], Message | None]:
        train = reply_with_model({"w": np.array([UPDATES[site]])}, WEIGHTS[site])

        def answer(message: Message) -> Message | None:
            if message.metadata.message_type == MessageType.TRAIN:
                return train(message)
            assert message.content["config"][records.TRIAL] is True
            dice = float(message.content["arrays"]["w"].numpy()[0])
            result = {"eval.patients": 2, "eval.patients.organ": 2, "eval.dice.organ": dice}
            exchange = str(message.content.config_records[records.CONFIG][records.EXCHANGE])
            content = records.build_reply_content(
                site, metrics.empty_metrics(self.study) | result, site_info={records.EXCHANGE: exchange}
            )
            return None if site in self.silent else Message(content, reply_to=message)

        return answer

    def round(self, server_round: int = 1) -> dict[str, Any]:
        messages = self.strategy.configure_train(server_round, self.sent, ConfigRecord(), self.grid)
        made, _ = self.strategy.aggregate_train(server_round, self.grid.send_and_receive(messages))
        assert made is not None
        return self.measured.measure(self.strategy.last_round, made)

    @staticmethod
    def values(result: Mapping[str, Any]) -> dict[str, float]:
        return {site: found["value"] for site, found in result["sites"].items()}


def score(coalition: frozenset[str]) -> float:
    """Return the weighted mean of the updates of some sites, which is the score of their model."""
    total = sum(WEIGHTS[site] for site in coalition)
    return sum(WEIGHTS[site] * UPDATES[site] for site in coalition) / total if total else 0.0


def test_leaving_one_out_scores_the_models_of_the_others(tmp_path: Path) -> None:
    result = Stage(tmp_path, "leave-one-out").round()
    assert Stage.values(result) == pytest.approx({"aachen": 0.275 - 1 / 3, "bergen": 0.275 - 0.3, "cadiz": 0.275 - 0.15})
    assert (result["event"], result["round"], result["method"], result["models"]) == ("contribution", 1, "leave-one-out", 4)
    assert result["bytes-down"] == 4 * 3 * to_array_record({"w": np.zeros(1)}).count_bytes()
    assert result["seconds"] > 0


def test_shapley_values_of_a_round_add_up_to_what_it_gained(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "shapley")
    result = stage.round()
    names = sorted(UPDATES)
    assert Stage.values(result) == pytest.approx(shapley({c: score(c) for c in all_coalitions(names)}, names))
    assert result["gain"] == pytest.approx(0.275)
    assert math.fsum(Stage.values(result).values()) == pytest.approx(0.275)
    assert result["models"] == 8
    assert stage.measured.recorder.replies is None


def test_only_the_rounds_asked_for_are_measured(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "alignment", every=2)
    assert stage.round(1) == {}
    result = stage.round(2)
    assert Stage.values(result) == {"aachen": 1, "bergen": 1, "cadiz": 1}
    assert (result["models"], result["bytes-down"]) == (0, 0)
    assert len(stage.grid.messages) == 6  # two rounds of training, and nothing else


def test_a_reply_that_a_filter_left_out_has_no_part(tmp_path: Path) -> None:
    result = Stage(tmp_path, "leave-one-out", transforms=[NormOutlierFilter(1.5)]).round()
    assert Stage.values(result) == pytest.approx({"aachen": -0.05, "bergen": 0.05})


def test_every_model_is_judged_by_the_same_sites_and_without_any_there_is_no_value(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "leave-one-out")
    stage.silent = {"bergen"}
    assert Stage.values(stage.round()) == pytest.approx({"aachen": 0.275 - 1 / 3, "bergen": 0.275 - 0.3, "cadiz": 0.275 - 0.15})
    assert {e["site"] for e in stage.run.history.read() if e["event"] == "failed"} == {"bergen"}
    stage.silent = set(UPDATES)
    assert all(math.isnan(value) for value in Stage.values(stage.round(2)).values())


def test_one_site_alone_brings_the_whole_gain(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "leave-one-out")
    stage.round()
    record, made = stage.strategy.last_round, to_array_record({"w": np.array([0.1])})
    stage.measured.recorder.begin_round(2, {"w": np.zeros(1)})
    alone = RoundRecord(2, record.replies[:1], 0, 0, 0.0)
    assert Stage.values(stage.measured.measure(alone, made)) == pytest.approx({"aachen": 0.1})


def test_shapley_values_are_for_six_sites_at_most() -> None:
    Contribution(method="shapley").check_sites(6)
    Contribution(method="leave-one-out").check_sites(60)
    with pytest.raises(ConfigError, match="scores 128 models a round with 7 sites; it is for 6 sites at most"):
        Contribution(method="shapley").check_sites(7)
