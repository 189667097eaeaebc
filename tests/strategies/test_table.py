"""The strategies that a study may name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest

from medfl.errors import ConfigError
from medfl.strategies import table
from medfl.strategies.fedavg import FedAvg
from medfl.study.sections import Compression, Filtering, Strategy


def study(**chosen: Any) -> Any:
    return SimpleNamespace(strategy=Strategy(**chosen), compression=Compression(), filtering=Filtering(), seed=9)


class Mine(FedAvg):
    """A strategy of someone else's package."""


def make_mine(of: Any) -> FedAvg:
    return Mine(seed=of.seed)


def make_nothing(of: Any) -> object:
    return of


def test_the_table_of_the_study_reaches_the_strategy() -> None:
    strategy = table.build_strategy(study(quorum=2, fraction=0.5, wait=7.0, weights="samples"))
    assert type(strategy) is FedAvg
    assert (strategy.quorum, strategy.fraction_train, strategy.wait, strategy.seed) == (2, 0.5, 7.0, 9)
    assert (strategy.weighted_by_key, strategy.evaluate_weighted_by) == ("train.samples", "eval.patients")


@pytest.mark.parametrize(("weights", "key"), [("patients", "train.patients"), ("samples", "train.samples"), ("equal", "")])
def test_each_way_to_weigh(weights: str, key: str) -> None:
    assert table.build_strategy(study(weights=weights)).weighted_by_key == key


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"came 'fedavgg', allowed: .*fedavg, .* Did you mean 'fedavg'"):
        table.build_strategy(study(name="fedavgg"))


def test_an_installed_package_offers_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"mine": make_mine, "nothing": make_nothing}
    offered = [EntryPoint(name, "nowhere:make", table.ENTRY_POINTS) for name in points]
    monkeypatch.setattr(EntryPoint, "load", lambda self: points[self.name])
    monkeypatch.setattr(table, "entry_points", lambda group: offered if group == table.ENTRY_POINTS else [])
    assert isinstance(table.build_strategy(study(name="mine")), Mine)
    with pytest.raises(ConfigError, match=r"expected a medfl\.strategies"):
        table.build_strategy(study(name="nothing"))
