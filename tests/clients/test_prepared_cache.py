"""The cache of prepared sites: a visit of one of many small sites does not prepare it again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medfl.clients import node_cache
from medfl.clients.prepared_cache import PreparedCache


def prepared(cases: int) -> Any:
    return SimpleNamespace(cases=tuple(range(cases)))


def test_each_of_a_thousand_sites_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def prepare(site: Any, *_: object) -> Any:
        made.append(site)
        return prepared(8)

    monkeypatch.setattr(node_cache, "prepare", prepare)
    monkeypatch.setattr(node_cache, "data_stamp", lambda site: (1,))
    node_cache.forget_prepared()
    for _ in range(3):  # rounds
        for k in range(1000):
            node_cache.load_cases(Path("study"), f"site-{k}")  # type: ignore[arg-type]  # compared, and not looked into
    node_cache.forget_prepared()
    assert len(made) == 1000


def test_it_drops_what_was_used_longest_ago_when_there_are_too_many_cases() -> None:
    cache, made = PreparedCache(10), []

    def ask(name: str, cases: int) -> None:
        cache.get(name, lambda: made.append(name) or prepared(cases))  # type: ignore[func-returns-value]

    for name, cases in [("a", 4), ("b", 4), ("a", 4), ("c", 4), ("a", 4), ("b", 4)]:
        ask(name, cases)
    assert made == ["a", "b", "c", "b"]
    ask("large", 50)
    ask("large", 50)
    assert made[4:] == ["large"]  # kept whatever its size
