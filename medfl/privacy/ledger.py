"""The ledger of a hospital: what each approved study has asked in each of its runs, and the answers that are kept.

It outlives processes, upgrades and approvals: withdrawing a study and approving it again resets nothing. A question is
reserved before any work on it begins, and its answer is kept before it leaves, both durably. So a site that loses its power at
any moment has counted at least what it told.

Answers are kept whole for the newest round of each arm, so that a run can be resumed there; of earlier rounds only hashes stay.
Trained models, which are large, are kept whole until their arm is tested, and no longer than `KEEP_DAYS` after the run's last
question. Answers to joining, and scores of the last round and of tests, are small and stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from flwr.app import RecordDict

from medfl.errors import PolicyError
from medfl.privacy import ledger_cases, ledger_rows, ledger_usage
from medfl.privacy.kept_answers import AnswerFiles
from medfl.privacy.ledger_database import LedgerDatabase
from medfl.privacy.ledger_records import ApprovalUsage, HeldAnswer, Reservation, RunCases
from medfl.privacy.patient_sets import Splits
from medfl.privacy.question_rules import check_question
from medfl.privacy.questions import Item, Question, count_questions
from medfl.site import Site
from medfl.study import Study

Chooser = Callable[[Splits | None, Sequence[RunCases]], Splits]


def ledger_folder(site: Site) -> Path:
    """Return the folder of a site's ledger and outbox, beside its site.toml."""
    return site.folder / (site.federation.budget if site.federation else "budget")


class Ledger:
    """What a hospital was asked and answered. Several processes may use it at once.

    Every method raises a `DataError` ``LEDGER-DAMAGED`` when the ledger cannot be read or written, whatever the reason.

    Parameters
    ----------
    folder : Path
        Where `ledger_folder` says; made at the first question.
    """

    def __init__(self, folder: Path) -> None:
        self._database = LedgerDatabase(folder)
        self._files = AnswerFiles(self._database.answers)

    def begin_run(self, study_hash: str, study_name: str, run: str) -> None:
        """Register a run of an approval, unless it is known. When it is not, what nobody needs of older runs is removed.

        A registered run counts as one of the approval when it has reserved a question beyond joining.

        Raises
        ------
        PolicyError
            ``RUNS-SPENT`` when as many runs have begun as the approval allows, and this is none of them; also when
            `ledger_rows.JOINED_RUNS_ALLOWED` more than that were registered.
        ExchangeError
            ``RUN-NAME`` when the name of the run is not valid.
        """
        unwanted: Sequence[str] = ()
        known: set[str] | None = None
        with self._database.transaction() as connection:
            if ledger_rows.begin_run(connection, study_hash, study_name, run, time.time()):
                unwanted = ledger_rows.forget_old_runs(connection, time.time())
                known = ledger_rows.list_files(connection)
        self._files.remove(unwanted)
        if known is not None:
            self._files.remove_unknown(known)

    def allow_runs(self, study_hash: str, study_name: str, runs: int | None = None) -> int:
        """Record an approval, and return how many runs it allows, those begun included.

        Parameters
        ----------
        study_hash, study_name : str
            The study.
        runs : int, optional
            Runs in all. Unless given, an approval of before keeps its number, and a new one has `ledger_rows.RUNS_ALLOWED`.
        """
        with self._database.transaction() as connection:
            return ledger_rows.allow_runs(connection, study_hash, study_name, runs)

    def add_runs(self, study_hash: str, n: int) -> int:
        """Allow further runs of a study, and return how many it may have now; 0 for a study that was never approved."""
        with self._database.transaction() as connection:
            return ledger_rows.add_runs(connection, study_hash, n)

    def allow_attempts(self, study_hash: str) -> int:
        """Let work begin again on those questions of a study that were given up, and return how many they are."""
        with self._database.transaction() as connection:
            return ledger_rows.allow_attempts(connection, study_hash)

    def count_given_up(self, study_hash: str) -> int:
        """Return how many questions of a study are worked on no more, since each attempt failed."""
        with self._database.reading() as connection:
            return ledger_rows.count_given_up(connection, study_hash)

    def reserve(self, study_hash: str, question: Question, study: Study, terms: str = "") -> Reservation:
        """Count a question before any work on it begins, or find the answer that it had.

        Parameters
        ----------
        study_hash, question, study
            What is asked, of which study.
        terms : str
            Terms of today's policy, as of `medfl.privacy.release_terms`, kept with the answer.

        Returns
        -------
        Reservation
            With the answer, where one is kept, and its terms, which may not be today's. Without one, the answer is computed
            now, and goes through `settle` or `fail`.

        Raises
        ------
        PolicyError
            As `check_question`; ``QUESTION-OLD`` when the question was answered, and only the hash of the answer is kept;
            ``RUNS-SPENT``; ``JOIN-LIMIT`` when the server asked too often on one day whether the site takes part;
            ``NOT-ANSWERED`` when work on the question began `ledger_rows.ATTEMPTS` times without an answer.
        """
        self.begin_run(study_hash, study.name, question.run)
        reservation = Reservation(study_hash, question, terms=terms)
        with self._database.transaction() as connection:
            row = ledger_rows.find(connection, reservation)
            is_answered = row is not None and row.sha256 is not None
            if question.item.kind == "join":
                ledger_rows.count_join(connection, study_hash, question.run, time.time(), is_kept=is_answered)
            if row is None or row.sha256 is None:
                if question.item.kind != "join":  # another run may have begun since this one joined
                    ledger_rows.check_runs(connection, study_hash, study.name, question.run)
                check_question(reservation.question, study, ledger_rows.list_asked(connection, reservation))
                if question.item.kind != "join":  # which has a limit a day instead
                    ledger_rows.check_attempts(row)
                ledger_rows.write_reservation(connection, reservation, time.time(), count_questions(study))
                return reservation
        return self._with_answer(reservation, row)

    def settle(self, reservation: Reservation, content: RecordDict, *, is_held: bool = False) -> Reservation:
        """Keep an answer, durably, before it leaves; of earlier rounds of its arm, only hashes are kept from then on.

        Parameters
        ----------
        reservation : Reservation
            From `reserve`.
        content : RecordDict
            The answer.
        is_held : bool
            Let it wait until a person releases it.

        Returns
        -------
        Reservation
            With what may leave: `content`, or what another process answered that was faster with the same question.
        """
        name, sha256 = self._files.write(reservation.key, content)
        with self._database.transaction() as connection:
            earlier = ledger_rows.find(connection, reservation)
            is_first = earlier is None or earlier.sha256 is None
            unwanted = [name]
            if is_first:
                ledger_rows.write_answer(connection, reservation, name, sha256, time.time(), is_held=is_held)
                unwanted = ledger_rows.forget_earlier_rounds(connection, reservation)
        self._files.remove(unwanted)
        if earlier is not None and not is_first:
            return self._with_answer(reservation, earlier)
        return replace(reservation, answer=None if is_held else content, is_held=is_held)

    def fail(self, reservation: Reservation, code: str) -> None:
        """Record that a question could not be answered. It stays spent; the same one may be computed again some times."""
        with self._database.transaction() as connection:
            ledger_rows.write_failure(connection, reservation, code)

    def released_answer(self, reservation: Reservation) -> RecordDict | None:
        """Return the answer of a question once a person has released it, or None while it waits."""
        with self._database.reading() as connection:
            row = ledger_rows.find(connection, reservation)
        return None if row is None or row.sha256 is None else self._with_answer(reservation, row).answer

    def find_joining(self, study_hash: str, run: str) -> RecordDict | None:
        """Return what a site answered when it joined a run; None when it did not, or a person has not released that yet."""
        with self._database.reading() as connection:
            row = ledger_rows.find(connection, Reservation(study_hash, Question(Item("", "join"), run, "", 1)))
        if row is None or row.state != "answered" or row.file is None or row.sha256 is None:
            return None
        return self._files.read(row.file, row.sha256)

    def held(self) -> tuple[HeldAnswer, ...]:
        """Return the answers that wait for a person to release them, the oldest first."""
        with self._database.reading() as connection:
            return ledger_usage.read_held(connection)

    def hold(self, reservation: Reservation, terms: str) -> Reservation:
        """Let an answer that is kept, and has not left, wait for a person from now on, under these terms."""
        held = replace(reservation, answer=None, is_held=True, terms=terms)
        with self._database.transaction() as connection:
            ledger_rows.hold(connection, held)
        return held

    def release(self, *, numbers: Collection[int]) -> int:
        """Let answers go, by their numbers, and return how many waited."""
        with self._database.transaction() as connection:
            return ledger_rows.release(connection, numbers)

    def list_usage(self) -> tuple[ApprovalUsage, ...]:
        """Return what each approval allows, and what its runs have asked."""
        with self._database.reading() as connection:
            return ledger_usage.read_usage(connection)

    def list_asked(self, study_hash: str, run: str) -> tuple[tuple[Item, str], ...]:
        """Return what a run has asked, answered or not, once for each model, with the terms of the policy of then."""
        with self._database.reading() as connection:
            return ledger_usage.read_items(connection, study_hash, run)

    def choose_cases(self, study_hash: str, run: str, choose: Chooser) -> Splits:
        """Fix the patients of a run, by split; again, when some of them must be left out from now on.

        No other run gets patients meanwhile, so two that join at once are compared with each other, too.

        Parameters
        ----------
        study_hash, run : str
            The run.
        choose : callable
            Called with the patients of the run, None before they are fixed, and those of all runs, this one's among them.
            Returns those of the run from now on. What it raises leaves the ledger as it was.

        Raises
        ------
        ValueError
            When a split gets patients that it did not have.
        """
        with self._database.transaction() as connection:
            before = ledger_cases.read_cases(connection, study_hash, run)
            splits = choose(before, ledger_cases.read_all_cases(connection))
            ledger_cases.fix_cases(connection, study_hash, run, splits)
        return splits

    def fixed_cases(self, study_hash: str, run: str) -> dict[str, frozenset[str]] | None:
        """Return the patients of a run by split; None before they were fixed."""
        with self._database.reading() as connection:
            return ledger_cases.read_cases(connection, study_hash, run)

    def list_cases(self) -> list[RunCases]:
        """Return the patients that were ever fixed for any run, in the order in which that happened."""
        with self._database.reading() as connection:
            return ledger_cases.read_all_cases(connection)

    def _with_answer(self, reservation: Reservation, row: ledger_rows.Row) -> Reservation:
        reservation = replace(reservation, terms=row.terms)
        if row.file is not None and row.sha256 is not None:
            if row.state == "held":
                return replace(reservation, answer=None, is_held=True)
            if (answer := self._files.read(row.file, row.sha256)) is not None:
                return replace(reservation, answer=answer, is_held=False)
        what = "the server asks for what this site has answered before, and only a hash of the answer is kept."
        raise PolicyError("QUESTION-OLD", what, "The run can go on from its newest round.")
