"""Answers that wait until a person at the hospital releases them."""

from __future__ import annotations

import threading
import time

import pytest
from flwr.app import Message

from medfl.clients import answering
from medfl.clients.training.interrupts import stop_when
from medfl.errors import safe_sentence
from medfl.privacy.ledger import Ledger
from tests.clients.answering_site import NOT_ANSWERED, TRAIN, Site, Work, release_all, site, work

__all__ = ["site", "work"]  # fixtures


@pytest.fixture
def waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    site.edit_site("[policy]", '[policy]\nrelease = "by-hand"')
    monkeypatch.setattr(answering, "_RELEASE_LOOK", 0.01)
    return site


def test_an_answer_waits_until_a_person_releases_it(waiting: Site, work: Work) -> None:
    replies: list[Message] = []
    thread = threading.Thread(target=lambda: replies.append(waiting.ask(TRAIN)), daemon=True)
    thread.start()
    ledger = Ledger(waiting.budget)
    try:
        until = time.monotonic() + 60
        while not ledger.held() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.1)
        assert not replies
        (entry,) = waiting.entries()
        assert entry.state == "waits"
        assert entry.numbers["train.patients"] > 0  # it can be read before it leaves
    finally:
        release_all(ledger)
        thread.join(60)
    assert not replies[0].has_error()
    assert [entry.state for entry in waiting.entries()] == ["left"]


def test_an_answer_that_is_released_too_late_is_given_when_the_question_comes_again(waiting: Site, work: Work) -> None:
    with stop_when(lambda: "RUN-STOPPED" if work.done and Ledger(waiting.budget).held() else None):
        assert waiting.reason(TRAIN) == safe_sentence("RUN-STOPPED")
    release_all(Ledger(waiting.budget))
    assert not waiting.ask(TRAIN).has_error()
    assert work.done == ["train"]


def test_a_message_that_expires_ends_the_waiting(waiting: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 1e6
    monkeypatch.setattr(answering.time, "time", lambda: later)
    assert waiting.reason(TRAIN) == NOT_ANSWERED


def test_no_message_makes_a_site_wait_for_longer_than_flower_keeps_one(waiting: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_LONGEST_WAIT", 0.0)
    assert waiting.reason(TRAIN) == NOT_ANSWERED
