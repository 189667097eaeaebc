"""What others may use: the names that packages export."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pickle
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medfl import clients, strategies
from medfl.clients.algorithms.algorithm_registry import CLIENT_ALGORITHMS
from medfl.strategies.strategy_registry import STRATEGIES

PACKAGES = ("medfl", "medfl.api", "medfl.clients", "medfl.strategies", "medfl.testing")

every_package = pytest.mark.parametrize("package", [importlib.import_module(name) for name in PACKAGES], ids=PACKAGES)


def imported_names(package: ModuleType) -> set[str]:
    """Return the names that a package imports from medfl, also those that only type checkers see it import."""
    imports = (
        node for node in ast.walk(ast.parse(Path(str(package.__file__)).read_text())) if isinstance(node, ast.ImportFrom)
    )
    return {alias.name for node in imports for alias in node.names if str(node.module).startswith("medfl")}


@every_package
def test_each_exported_name_is_there_and_documented(package: ModuleType) -> None:
    for name in package.__all__:
        value = getattr(package, name)
        assert isinstance(value, str) or inspect.getdoc(value)
    assert set(package.__all__) <= set(dir(package))


@every_package
def test_type_checkers_see_the_same_names(package: ModuleType) -> None:
    assert imported_names(package) == {name for name in package.__all__ if not isinstance(getattr(package, name), str)}


@every_package
def test_a_name_that_is_not_exported_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = package.NoSuchName


@every_package
def test_keywords_are_spelled_out(package: ModuleType) -> None:
    classes = {name: getattr(package, name) for name in package.__all__ if inspect.isclass(getattr(package, name))}
    open_ended = [
        name
        for name, kind in classes.items()
        if kind.__init__ is not object.__init__
        and any(p.kind is p.VAR_KEYWORD for p in inspect.signature(kind).parameters.values())
    ]
    assert not open_ended


def is_strategy(name: str) -> bool:
    kind = getattr(strategies, name)
    return inspect.isclass(kind) and issubclass(kind, strategies.FedAvg) and not inspect.isabstract(kind)


@pytest.mark.parametrize("name", [name for name in strategies.__all__ if is_strategy(name)])
def test_a_strategy_can_be_copied_and_extended_as_a_dataclass(name: str) -> None:
    kind: Any = getattr(strategies, name)
    options = {"client_learning_rate": 0.1} if name == "QFedAvg" else {}
    for copied in (pickle.loads(pickle.dumps(kind(**options))), copy.deepcopy(kind(**options))):
        assert repr(copied) == repr(kind(**options))
    extended = dataclass(eq=False, kw_only=True)(type("Extended", (kind,), {"__annotations__": {"share": float}, "share": 0.5}))
    made = extended(share=0.25, quorum=3, **options)
    assert (made.share, made.quorum, made.min_train_nodes) == (0.25, 3, 2)


def test_every_algorithm_that_a_study_may_name_is_exported() -> None:
    assert {kind.__name__ for kind in STRATEGIES.values()} <= set(strategies.__all__)
    assert {getattr(kind, "__name__", "") for kind in CLIENT_ALGORITHMS.values()} <= set(clients.__all__)
