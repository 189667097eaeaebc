"""Several cases at a time: Ctrl-C while the workers start, and a worker that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medfl.data.store import parallel
from medfl.data.store.prepare import prepare_cases
from medfl.system.pools import sigint_blocked
from tests.data.store.test_prepare import site_of, study_of


def test_ctrl_c_waits_until_the_workers_have_started_and_they_never_hear_it() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    inherited: list[bool] = []

    def start_workers() -> None:
        with sigint_blocked():
            os.kill(os.getpid(), signal.SIGINT)
            inherited.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    try:
        with pytest.raises(KeyboardInterrupt):
            start_workers()
        assert inherited == [True]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_a_killed_worker_leaves_is_made_here_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(order: Any, room: Any, *_: Any) -> Iterator[Any]:
        for case in order[:2]:
            yield case, room.get_or_prepare(case)

    monkeypatch.setattr(parallel, "_iter_parallel", broken)
    monkeypatch.setattr(parallel, "max_parallel_cases", lambda *_: 2)
    steps: list[tuple[int, int]] = []
    site = site_of(tmp_path / "north", 5)
    prepared = prepare_cases(site, study_of(), lambda done, total: steps.append((done, total)), workers=2)
    assert steps == [(n, 5) for n in range(1, 6)]
    assert [case.name for case in prepared.cases] == [case.name for case in prepare_cases(site, study_of()).cases]
