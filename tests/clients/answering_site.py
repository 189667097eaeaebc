"""A hospital that is asked in tests of its answers, and the count of its work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message, MessageType

from medfl.clients import node
from medfl.errors import safe_sentence
from medfl.messages import records
from medfl.privacy import outbox
from medfl.privacy.ledger import Ledger
from tests.clients.real_node import Node

JOIN, TRAIN, EVALUATE = records.JOIN, MessageType.TRAIN, MessageType.EVALUATE
NOT_ANSWERED = safe_sentence("NOT-ANSWERED")


class Site(Node):
    """A hospital with the policy of `medfl site init`, except that it is small."""

    @property
    def budget(self) -> Path:
        return self.site_file.parent / "budget"

    def entries(self, run: str = "run-1") -> tuple[outbox.OutboxEntry, ...]:
        return outbox.list_outgoing(self.budget, run)

    def other_model(self) -> ArrayRecord:
        return records.to_array_record({n: a + 1 for n, a in records.from_array_record(self.model).items()})


@pytest.fixture
def site(nodule_study: Path, nodule_hospitals: Path) -> Site:
    site = Site.of_study(nodule_hospitals / "hospital-1" / "site.toml", nodule_study)
    site.edit_site('scores = "exact"', 'scores = "headline"')
    return site


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


class Work:
    """The handlers of the node, counted; `before` is called at the beginning of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.before: Callable[[], object] = lambda: None
        for name in ("join", "train", "evaluate"):
            monkeypatch.setattr(node, name, self._count(name, getattr(node, name)))

    def _count(self, name: str, handle: Any) -> Any:
        def counting(*arguments: Any) -> Message:
            self.done.append(name)
            self.before()
            reply: Message = handle(*arguments)
            return reply

        return counting

    def fail_with(self, error: BaseException) -> None:
        def fail() -> None:
            raise error

        self.before = fail


def values_of(reply: Message) -> dict[str, Any]:
    """Return all that a reply says, but for the number of the exchange."""
    said: dict[str, Any] = {}
    for name, record in reply.content.items():
        if isinstance(record, ArrayRecord):
            said |= {f"{name}/{key}": array.data for key, array in record.items()}
        else:
            said |= {f"{name}/{key}": value for key, value in record.items() if key != records.EXCHANGE}
    return said


def release_all(ledger: Ledger) -> None:
    ledger.release(numbers=[held.number for held in ledger.held()])
