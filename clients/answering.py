"""How a hospital answers: each question of an approved study once, and always in the same words.

A simulated site computes every answer anew. A hospital counts a question before any work on it begins, keeps the answer before
it leaves, and gives the same answer when the same question comes again. What is refused *before* the question is counted does
not depend on any image or patient, and leaves with its own code, so that operators can help themselves. Whatever fails *after*
that may depend on them, and leaves as ``NOT-ANSWERED``: many codes would be an oracle. The site's own log has the reason.

Exceptions are few: at joining, three codes say that a site declines by its own policy, which an approval counts as bits; and
``RUN-STOPPED`` is raised because the server ended the run, not because of anything here.

What remains beside the answer: the time until it comes. The SuperNode sends at its next look for an answer, half a second apart
(`medfl.flower.supernode`), so the time of the work is told to half a second; that of an answer that is kept already is short.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from medfl.clients import node_cache
from medfl.clients.model_keeping import ModelKeeper
from medfl.clients.model_watch import check_model, note_update
from medfl.clients.node_cache import OpenNode
from medfl.clients.received_model import check_received
from medfl.clients.run_cases import cases_of_run, choose_described
from medfl.clients.simulated_cases import simulated_cases
from medfl.clients.start.kept_start import receive_start
from medfl.clients.training.client_state import state_folder
from medfl.clients.training.interrupts import check_interrupts
from medfl.data.store.cache_key import site_root
from medfl.errors import MedflError, PolicyError, StoppedError
from medfl.messages import padding, records
from medfl.messages.message_proof import read_proof
from medfl.privacy import outbox, policy_checks
from medfl.privacy.alarms import MODEL_PATH
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.privacy.ledger_records import Reservation
from medfl.privacy.outbox import describe_answer
from medfl.privacy.questions import Question, read_question
from medfl.privacy.release_terms import check_terms, is_by_hand, release_terms

Handler = Callable[[Message, Context, OpenNode | None], Message]

NOT_ANSWERED = "NOT-ANSWERED"

_TOLD_AT_JOINING = frozenset({"SITE-TOO-SMALL", "SITE-EXCLUDED", "POLICY-PATIENTS"})
_ALONE = "the server is told this code alone."
_LONGEST_WAIT = 12 * 3600.0  # seconds that Flower keeps a message; the one that it says itself comes from the server
_RELEASE_LOOK = 1.0  # seconds between looks whether a person has released an answer
_log = logging.getLogger("medfl.site")


def answer(handle: Handler, message: Message, context: Context) -> Message:
    """Answer a message: at a hospital within its budget of questions, at a simulated site always.

    Parameters
    ----------
    handle : callable
        Computes the answer: a function of `medfl.clients.node`.
    message, context
        As a ClientApp gets them.

    Raises
    ------
    MedflError
        When the message is refused. Its code may leave; it depends on no data, but for ``NOT-ANSWERED``, whose cause is the
        error that stays here.
    """
    opened = node_cache.open_node(context)
    if opened.simulation is not None:
        _take_start(message, opened)
        return handle(message, context, opened._replace(choose_cases=partial(simulated_cases, opened.study, opened.site)))
    asked = _admit(message, context, opened)
    reservation = asked.ledger.reserve(asked.study_hash, asked.question, opened.study, asked.terms)
    if reservation.answer is None and not reservation.is_held:
        reservation = asked.compute(handle, context, reservation)
    reservation = asked.keep_to_policy(reservation)  # another process may have answered meanwhile, by another policy
    return asked.give(asked.await_release(reservation) if reservation.answer is None else reservation.answer)


def _admit(message: Message, context: Context, opened: OpenNode) -> _Asked:
    """Read the question of a message that the site may answer; whatever this raises depends on no data."""
    study, site = opened.study, opened.site
    policy_checks.check_hours(site.policy, datetime.now())
    policy_checks.check_study(study, site.policy)
    question = read_question(message.metadata.message_type, message.content, study, f"flower-{context.run_id}")
    state_folder(site_root(site), study.approved_hash(), question.run)  # refuses a name that is no name
    check_received(message.content, question.item, study, site)
    _take_start(message, opened)
    budget = ledger_folder(site)
    ledger = Ledger(budget)
    return _Asked(message, opened, question, ledger, budget)


def _take_start(message: Message, opened: OpenNode) -> None:
    """Check and keep the first model that comes as a site is asked to join, before its own data is looked at."""
    if message.metadata.message_type == records.JOIN:
        receive_start(message.content, opened.study, opened.site)


@contextmanager
def _told_as_not_answered() -> Iterator[None]:
    """Let nothing that fails once an answer is known leave with a code of its own."""
    try:
        yield
    except Exception as error:
        raise PolicyError(NOT_ANSWERED, _ALONE) from error


@dataclass(frozen=True)
class _Asked:
    """A question that a hospital may answer."""

    message: Message
    opened: OpenNode
    question: Question
    ledger: Ledger
    budget: Path

    @property
    def study_hash(self) -> str:
        return self.opened.study.approved_hash()

    @property
    def terms(self) -> str:
        """Terms of today's policy that decide what of an answer leaves."""
        return release_terms(self.opened.site.policy)

    def keep_to_policy(self, reservation: Reservation) -> Reservation:
        """Let a kept answer leave under today's terms alone: others refuse it, and it waits for a person where these say so.

        An answer to joining that has left is given again in any case: it tells nothing new, and a run is resumed with it. Each
        further round is then computed under today's terms.
        """
        if reservation.terms == self.terms:
            return reservation
        has_left = outbox.has_left(self.budget, self.study_hash, self.question)
        if not (has_left and self.question.item.kind == "join"):
            check_terms(self.question.item, reservation.terms, self.terms)
        waits = self.opened.site.policy.release == "by-hand" and not is_by_hand(reservation.terms)
        if waits and not has_left and reservation.answer is not None:
            with _told_as_not_answered():
                self._note("waits", reservation.answer)
            return self.ledger.hold(reservation, self.terms)
        return reservation

    def compute(self, handle: Handler, context: Context, reservation: Reservation) -> Reservation:
        """Compute an answer and keep it; it may have to wait for a person who releases it."""
        study, site, asked = self.opened.study, self.opened.site, self.question
        opened = self.opened._replace(
            question=asked.digest,
            choose_cases=partial(cases_of_run, study, site, asked.run, self.ledger),
            choose_described=partial(choose_described, study, site, asked.run, self.ledger),
            keep_model=self._model_keeper(context),
            note_update=partial(note_update, study, site, asked.run, asked.item),
            repeat_exclusions=self._repeat_exclusions,
        )
        try:
            self._watch_model()
            content = handle(self.message, context, opened).content
            if is_held := site.policy.release == "by-hand":
                self._note("waits", content)  # first: what waits can be read, whatever happens next
            return self.ledger.settle(reservation, content, is_held=is_held)
        except Exception as error:
            raise self._refuse(reservation, error) from error

    def _model_keeper(self, context: Context) -> ModelKeeper:
        config = self.message.content.get(records.CONFIG)
        told = config if isinstance(config, ConfigRecord) else ConfigRecord()
        return ModelKeeper(self.opened.study, self.opened.site, self.question.run, told, read_proof(context.state))

    def _repeat_exclusions(self) -> str:
        """Return which cases the site told as left out when it joined: what changed since would be told with every round."""
        joined = self.ledger.find_joining(self.study_hash, self.question.run)
        site = joined.get(records.SITE) if joined else None
        return str(site.get(records.EXCLUDED, "")) if isinstance(site, ConfigRecord) else ""

    def _watch_model(self) -> None:
        """Look whether the model moves as training moves it, and note in the outbox where it does not."""
        received = {n: records.array_views(r) for n, r in self.message.content.items() if isinstance(r, ArrayRecord)}

        def note(alarms: str) -> None:
            self._note("alarm", None, code=MODEL_PATH, reason=alarms)

        check_model(self.opened.study, self.opened.site, self.question.run, self.question.item, received, note)

    def await_release(self, reservation: Reservation) -> RecordDict:
        """Wait until a person releases a kept answer, the run is over, or nobody waits for the message any more."""
        about, begun = self.message.metadata, time.monotonic()
        longest = min(about.created_at + about.ttl - time.time(), _LONGEST_WAIT)
        _log.warning("An answer to %r waits for a person: medfl site outbox %s", self.question.item.kind, self.question.run)
        while (content := self.ledger.released_answer(reservation)) is None:
            check_interrupts()
            if time.monotonic() - begun > longest:
                what = "the answer was not released before the message expired; it is given when the question comes again."
                raise PolicyError(NOT_ANSWERED, what)
            time.sleep(_RELEASE_LOOK)
        return content

    def give(self, content: RecordDict) -> Message:
        """Return an answer as it leaves: noted in the outbox, repeating what it answers, and padded."""
        with _told_as_not_answered():
            if not outbox.has_left(self.budget, self.study_hash, self.question):
                self._note("left", content)
            config, site = self.message.content.get(records.CONFIG), content.get(records.SITE)
            if isinstance(config, ConfigRecord) and isinstance(site, ConfigRecord):
                for key in (records.RUN, records.ROUND, records.EXCHANGE):
                    site.pop(key, None)
                    if key in config:
                        site[key] = config[key]
            padding.pad(content)
            return Message(content, reply_to=self.message)

    def _refuse(self, reservation: Reservation, error: Exception) -> MedflError:
        """Record that a question had no answer, and return what the server is told instead."""
        code = error.code if isinstance(error, MedflError) else "SITE-ERROR"
        told = code if self._may_tell(error, code) else NOT_ANSWERED
        try:
            self.ledger.fail(reservation, code)
            if told != "RUN-STOPPED":
                reason = str(error) if isinstance(error, MedflError) else f"[{code}] {type(error).__name__}"
                self._note("refused", None, code=told, reason=reason)
        except Exception as second:  # the question stays counted all the same
            _log.error("%s", second if isinstance(second, MedflError) else f"[SITE-ERROR] {type(second).__name__}")
        if told == code and isinstance(error, MedflError):
            return error
        return PolicyError(NOT_ANSWERED, _ALONE)

    def _may_tell(self, error: Exception, code: str) -> bool:
        at_joining = self.question.item.kind == "join" and code in _TOLD_AT_JOINING
        return at_joining or (isinstance(error, StoppedError) and code == "RUN-STOPPED")

    def _note(self, state: outbox.State, content: RecordDict | None, *, code: str = "", reason: str = "") -> None:
        study, received = self.opened.study, self.message.content
        entry = describe_answer(state, study.name, self.study_hash, self.question, content, received, code=code, reason=reason)
        outbox.write_outgoing(self.budget, entry)
