"""Imports of Flower: outside `medfl.flower`, only names that Flower documents, so that only that room follows its changes."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC_MODULES = {"flwr.app", "flwr.clientapp", "flwr.clientapp.mod", "flwr.serverapp", "flwr.serverapp.strategy"}
FILES = [
    path.relative_to(ROOT)
    for folder in ("medfl", "strategies", "clients", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ROOT / "medfl/flower" not in path.parents
]


def flower_names(source: str) -> Iterator[tuple[str, str]]:
    """Yield each name that a source takes from Flower, as (module, name); the name is empty if a whole module is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flwr":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "flwr")


def undocumented_names(source: str) -> list[str]:
    """Return the names that a source takes from Flower and that no public module of Flower exports."""
    return [
        f"{module}: {name}"
        for module, name in flower_names(source)
        if module not in PUBLIC_MODULES or name not in importlib.import_module(module).__all__
    ]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_documented_names_of_flower_are_used(path: Path) -> None:
    assert undocumented_names((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from flwr.clientapp.typing import ClientAppCallable",
        "from flwr.common.constant import ErrorCode",
        "def late():\n    from flwr.serverapp.strategy import fedavg",
        "import flwr.supercore",
        "import flwr",
    ],
)
def test_an_undocumented_name_is_noticed(source: str) -> None:
    assert len(undocumented_names(source)) == 1


def test_documented_names_pass() -> None:
    assert undocumented_names("from flwr.app import Message\nfrom flwr.serverapp import Grid, strategy\nimport flwrx") == []
