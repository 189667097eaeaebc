"""The strategies that a study may name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest

from medfl.errors import ConfigError
from medfl.strategies import strategy_registry
from medfl.strategies.fedavg import FedAvg
from medfl.study import installed_strategies
from medfl.study.sections import Compression, Filtering, Strategy
from medfl.testing.sites import make_study


def study(**chosen: Any) -> Any:
    tables = {"strategy": Strategy(**chosen), "compression": Compression(), "filtering": Filtering()}
    return SimpleNamespace(**tables, seed=9)


class Mine(FedAvg):
    """A strategy of someone else's package."""

    def __init__(self, *, share: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.share = share


def make_mine(of: Any, quorum: int) -> FedAvg:
    return Mine(**dict(of.strategy.options), **strategy_registry.common_options(of, quorum))


def make_nothing(of: Any, quorum: int) -> object:
    return of


def test_the_table_of_the_study_reaches_the_strategy() -> None:
    strategy = strategy_registry.build_strategy(study(fraction=0.5, wait=7.0, weights="samples"), 2)
    assert type(strategy) is FedAvg
    assert (strategy.quorum, strategy.fraction_train, strategy.wait, strategy.seed) == (2, 0.5, 7.0, 9)
    assert (strategy.weighted_by_key, strategy.evaluate_weighted_by_key) == ("train.samples", "eval.patients")


@pytest.mark.parametrize(("weights", "key"), [("patients", "train.patients"), ("samples", "train.samples"), ("equal", "")])
def test_each_way_to_weigh(weights: str, key: str) -> None:
    assert strategy_registry.build_strategy(study(weights=weights), 1).weighted_by_key == key


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"came 'fedavgg', allowed: .*fedavg, .* Did you mean 'fedavg'"):
        strategy_registry.build_strategy(study(name="fedavgg"), 1)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another package offer a strategy, and some that cannot be built."""
    points = {"mine": make_mine, "nothing": make_nothing, "older": lambda of: FedAvg(), "wrong": lambda *_: FedAvg(quorum=0)}
    offered = {"medfl.strategies": [EntryPoint(name, "nowhere:make", "medfl.strategies") for name in points]}
    monkeypatch.setattr(EntryPoint, "load", lambda self: points[self.name])
    monkeypatch.setattr(installed_strategies, "entry_points", lambda group: offered[group])


@pytest.mark.usefixtures("installed")
def test_an_installed_package_offers_its_own() -> None:
    mine = strategy_registry.build_strategy(make_study(strategy={"name": "mine", "options": {"share": 0.25}}), 3)
    assert isinstance(mine, Mine)
    assert (mine.quorum, mine.share) == (3, 0.25)
    with pytest.raises(ConfigError, match=r"expected a medfl\.strategies"):
        strategy_registry.build_strategy(study(name="nothing"), 1)


@pytest.mark.usefixtures("installed")
def test_a_part_is_trained_with_a_strategy_of_another_package_only_if_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    part = make_study(strategy={"name": "mine", "options": {"share": 0.25}}, training={"tune": "head"})
    with pytest.raises(ConfigError, match=r"training\.tune: the strategy 'mine' .* does not say that it works"):
        strategy_registry.build_strategy(part, 1)
    monkeypatch.setattr(Mine, "tunes_part", True)
    assert isinstance(strategy_registry.build_strategy(part, 1), Mine)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["shar", "seed", "site_names"])
def test_an_option_that_a_strategy_of_another_package_does_not_take_is_named_with_those_that_it_does(name: str) -> None:
    wrong = make_study(strategy={"name": "mine", "options": {name: 0.8}})
    with pytest.raises(ConfigError, match=rf"strategy\.options\.{name}: .*'mine'.* no such option.*Valid keys here: share\."):
        strategy_registry.build_strategy(wrong, 1)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "words"), [("older", "TypeError: .*takes 1 positional argument.*build"), ("wrong", "ValueError: quorum must be")]
)
def test_what_another_package_cannot_build_is_said_in_its_own_words(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"offers '{name}' could not build it: {words}"):
        strategy_registry.build_strategy(make_study(strategy={"name": name}), 1)


@pytest.mark.parametrize(
    ("name", "optimizer", "expected"),
    [
        ("fednova", {"name": "sgd", "momentum": 0.8}, {"momentum": 0.8, "nesterov": True, "steps_key": "train.steps"}),
        ("fednova", {"name": "adam", "momentum": 0.8}, {"momentum": 0.0}),
        (
            "qfedavg",
            {"learning-rate": 0.05},
            {"client_learning_rate": 0.05, "lipschitz": 20.0, "train_loss_key": "train.loss-before"},
        ),
        ("cyclic", {}, {"hop_timeout": 77.0}),
        ("fedbuff", {}, {"round_timeout": 77.0}),
    ],
)
def test_what_an_algorithm_takes_from_other_tables(name: str, optimizer: dict[str, Any], expected: dict[str, Any]) -> None:
    made = strategy_registry.build_strategy(make_study(strategy={"name": name, "deadline": 77.0}, optimizer=optimizer), 1)
    assert type(made) is strategy_registry.STRATEGIES[name]
    assert {key: getattr(made, key) for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("name", strategy_registry.STRATEGIES)
def test_a_study_can_have_every_strategy_made(name: str) -> None:
    optimizer = {"name": "sgd"} if name == "scaffold" else {}
    assert (
        type(strategy_registry.build_strategy(make_study(strategy={"name": name}, optimizer=optimizer), 1))
        is strategy_registry.STRATEGIES[name]
    )
