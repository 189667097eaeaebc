"""Questions of a small study, and answers to them."""

from __future__ import annotations

import numpy as np
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from medfl.messages.records import to_array_record
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_records import Reservation
from medfl.privacy.questions import Item, Kind, Question, find_allowance
from medfl.study import Study
from medfl.testing.sites import make_study

STUDY = make_study()
HASH = STUDY.approved_hash()


def ask(
    kind: Kind, server_round: int = 0, model: str = "a", *, arm: str = "federated", run: str = "r1", study: Study = STUDY
) -> Question:
    item = Item("" if kind in ("join", "fingerprint") else arm, kind, server_round)
    return Question(item, run, model, find_allowance(STUDY, item).models)


def reply(value: float, size: int = 3) -> RecordDict:
    """Return an answer with a small model."""
    numbers = MetricRecord({"train.loss": value, "train.patients": 12})
    site = ConfigRecord({"name": "north", "excluded": ""})
    return RecordDict({"metrics": numbers, "site": site, "arrays": to_array_record({"w": np.full(size, value, np.float32)})})


def answer(ledger: Ledger, question: Question, value: float = 0.5) -> Reservation:
    """Ask and answer a question that is new."""
    reservation = ledger.reserve(HASH, question, STUDY)
    assert reservation.answer is None
    return ledger.settle(reservation, reply(value))
