"""Which algorithms a site finds: those of medfl, and those of packages that are installed, whenever that was."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from medfl.clients.algorithms import algorithm_registry
from medfl.clients.algorithms.algorithm_registry import build_algorithm
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.site import Site
from medfl.study import Study


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the groups of entry points that were read, each time that one is."""
    groups: list[str] = []

    def read(group: str) -> Any:
        groups.append(group)
        return entry_points(group=group)

    algorithm_registry._read_offered.cache_clear()
    monkeypatch.setattr(algorithm_registry, "entry_points", read)
    return groups


def install(folder: Path) -> None:
    info = folder / "gentle-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gentle\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[medfl.clients]\ngentle = gentle_client:build\n")
    client = "from medfl.clients.algorithms.client_algorithm import ClientAlgorithm\n\n\nclass Gentle(ClientAlgorithm):\n"
    (folder / "gentle_client.py").write_text(f'{client}    """Gentle."""\n\n\ndef build(study):\n    return Gentle()\n')


def test_the_installed_packages_are_not_read_with_every_message(
    make_study: Callable[..., Study], site: Site, reads: list[str]
) -> None:
    for name in ("fedavg", "gentle", "gentle", "gentle"):
        assert type(build_algorithm(make_study(strategy={"name": name}), site)) is ClientAlgorithm
    assert reads == ["medfl.clients"]


@pytest.mark.usefixtures("reads")
def test_a_package_that_is_installed_while_a_site_runs_is_found_by_its_next_message(
    make_study: Callable[..., Study], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    study = make_study(strategy={"name": "gentle"})
    allowed = site.model_copy(update={"policy": site.policy.model_copy(update={"extensions": ("gentle",)})})
    assert type(build_algorithm(study, allowed)) is ClientAlgorithm
    install(tmp_path)
    assert type(build_algorithm(study, allowed)).__name__ == "Gentle"
