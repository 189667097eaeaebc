"""``import medfl``: light, and everything of the API at hand."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import medfl
from medfl import api

ROOT = Path(__file__).parents[2]
MODULES = [f"medfl.api.{module.name}" for module in pkgutil.iter_modules(api.__path__)]


def test_what_is_at_hand_is_what_the_api_has() -> None:
    assert all(
        getattr(medfl, name) is getattr(api, name) for name in medfl.__all__ if name not in ("DISTRIBUTION", "__version__")
    )
    assert set(medfl.__all__) <= set(dir(medfl))
    with pytest.raises(AttributeError, match="simulat"):
        medfl.simulat  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import medfl", {"torch", "monai", "flwr", "pandas", "pydantic", "numpy"}),
        ("import medfl; medfl.list_runs", {"medfl.api.simulations", "medfl.api.studies", "torch"}),
        ("import medfl.cli.app", {"torch", "monai", "flwr", "pandas", "scipy", "medfl.report"}),
        ("import medfl; medfl.simulate", {"torch", "monai", "ray", "pandas"}),
    ],
)
def test_importing_brings_nothing_heavy(code: str, heavy: set[str]) -> None:
    check = f"{code}\nimport sys; found = {heavy} & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_docstrings_are_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert doctest.testmod(importlib.import_module(name)).failed == 0
