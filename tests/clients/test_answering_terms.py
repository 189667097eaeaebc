"""A kept answer under another policy: it is not given, and a run goes on all the same."""

from __future__ import annotations

import pytest

from medfl.clients import answering
from medfl.privacy.ledger import Ledger
from tests.clients.answering_site import JOIN, NOT_ANSWERED, TRAIN, Site, Work, release_all, site, values_of, work

__all__ = ["site", "work"]  # fixtures

STRICTER = ('scores = "headline"', 'scores = "none"')
BY_HAND = ("[policy]", '[policy]\nrelease = "by-hand"')


@pytest.fixture(autouse=True)
def _look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_RELEASE_LOOK", 0.01)
    monkeypatch.setattr(answering, "_LONGEST_WAIT", 0.0)


@pytest.mark.parametrize(
    "change", [STRICTER, ('scores = "headline"', 'scores = "exact"'), ("[policy]", '[policy]\nmetrics = "train.*"')]
)
def test_an_answer_of_another_policy_is_neither_given_nor_computed_again(
    site: Site, work: Work, change: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    first = site.ask(TRAIN)
    site.edit_site(*change)
    assert site.reason(TRAIN) == NOT_ANSWERED
    assert "under another policy" in caplog.text  # the hospital is told why, and the server is not
    site.edit_site(*reversed(change))
    assert values_of(site.ask(TRAIN)) == values_of(first)
    assert work.done == ["train"]


def test_a_run_goes_on_under_a_stricter_policy(site: Site, work: Work) -> None:
    joined, _ = site.ask(JOIN), site.ask(TRAIN)
    site.edit_site(*STRICTER)
    assert values_of(site.ask(JOIN)) == values_of(joined)  # a server that resumes the run asks again; it knows this already
    assert not site.ask(TRAIN, server_round=2).has_error()
    assert work.done == ["join", "train", "train"]


def test_an_answer_that_waits_is_not_released_into_another_policy(site: Site) -> None:
    site.edit_site(*BY_HAND)
    assert site.reason(TRAIN) == NOT_ANSWERED
    site.edit_site(*STRICTER)
    release_all(Ledger(site.budget))
    assert site.reason(TRAIN) == NOT_ANSWERED
    assert [entry.state for entry in site.entries()] == ["waits"]


def test_an_answer_that_never_left_waits_once_the_policy_says_so(
    site: Site, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(answering.padding, "pad", lambda _: 1 / 0)
        broken.setattr(answering.outbox, "write_outgoing", lambda *_: 1 / 0)
        assert site.reason(TRAIN) == NOT_ANSWERED  # kept, and stopped before it left
    site.edit_site(*BY_HAND)
    assert site.reason(TRAIN) == NOT_ANSWERED
    assert [entry.state for entry in site.entries()] == ["waits"]
    release_all(Ledger(site.budget))
    assert not site.ask(TRAIN).has_error()
    assert work.done == ["train"]


def test_an_answer_that_has_left_is_given_again_by_hand_or_not(site: Site) -> None:
    first = site.ask(TRAIN)
    site.edit_site(*BY_HAND)
    assert values_of(site.ask(TRAIN)) == values_of(first)
