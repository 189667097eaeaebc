"""What others may use: the names that packages export."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from medfl.clients.algorithms.algorithm_registry import CLIENT_ALGORITHMS
from medfl.strategies.strategy_registry import STRATEGIES

PACKAGES = ("medfl", "medfl.api", "medfl.clients", "medfl.strategies", "medfl.testing")

every_package = pytest.mark.parametrize("package", [importlib.import_module(name) for name in PACKAGES], ids=PACKAGES)


def imported_names(package: ModuleType) -> set[str]:
    """Return the names that a package imports from medfl, also those that only type checkers see it import."""
    imports = (
        node for node in ast.walk(ast.parse(Path(str(package.__file__)).read_text())) if isinstance(node, ast.ImportFrom)
    )
    return {alias.name for node in imports for alias in node.names if str(node.module).startswith("medfl")} - {"export_lazily"}


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


def test_every_algorithm_that_a_study_may_name_is_exported() -> None:
    from medfl import clients, strategies

    assert {kind.__name__ for kind in STRATEGIES.values()} <= set(strategies.__all__)
    assert {getattr(kind, "__name__", "") for kind in CLIENT_ALGORITHMS.values()} <= set(clients.__all__)
