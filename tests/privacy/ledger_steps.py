"""A ledger for tests, its time, and what it answers to a question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import RecordDict

from medfl.errors import PolicyError
from medfl.privacy.ledger import Ledger
from medfl.privacy.questions import Question
from tests.privacy.asking import HASH, STUDY


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "budget")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return a list whose last entry is the time."""
    times = [1e9]
    monkeypatch.setattr("medfl.privacy.ledger.time.time", lambda: times[-1])
    return times


def again(ledger: Ledger, question: Question) -> RecordDict | None:
    return ledger.reserve(HASH, question, STUDY).answer


def refusal(ledger: Ledger, question: Question) -> str:
    with pytest.raises(PolicyError) as caught:
        ledger.reserve(HASH, question, STUDY)
    return caught.value.code


def files(ledger_path: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (ledger_path / "answers").rglob("*.answer"))
