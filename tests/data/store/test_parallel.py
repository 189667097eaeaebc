"""Several cases at a time, and a worker that is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medfl.data.store import parallel
from medfl.data.store.prepare import prepare_cases
from tests.data.store.store_site import site_of, study_of


def test_what_a_killed_worker_leaves_is_made_here_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(order: Any, cache: Any, *_: Any) -> Iterator[Any]:
        for case in order[:2]:
            yield case, cache.get_or_prepare(case)

    monkeypatch.setattr(parallel, "_iter_parallel", broken)
    monkeypatch.setattr(parallel, "max_parallel_cases", lambda *_: 2)
    steps: list[tuple[int, int]] = []
    site = site_of(tmp_path / "north", 5)
    prepared = prepare_cases(site, study_of(), lambda done, total: steps.append((done, total)), workers=2)
    assert steps == [(n, 5) for n in range(1, 6)]
    assert [case.name for case in prepared.cases] == [case.name for case in prepare_cases(site, study_of()).cases]
