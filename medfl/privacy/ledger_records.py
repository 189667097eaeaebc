"""What the ledger of a hospital is asked for and gives: records without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from flwr.app import RecordDict

from medfl.privacy.patient_sets import Splits
from medfl.privacy.questions import Item, Question

_WITHOUT_MODEL = ("join", "fingerprint")  # nothing that was received changes their answer


@dataclass(frozen=True)
class Reservation:
    """A question that a site has counted, and may answer.

    Parameters
    ----------
    study_hash : str
        Hash of the approved study.
    question : Question
        The question.
    answer : RecordDict, optional
        The answer that is kept for it, to be given again. None: it is computed now, or it is held.
    is_held : bool
        Whether the answer is kept, and waits for a person to release it.
    terms : str
        Terms of the policy under which the answer is computed, or was, as of `medfl.privacy.release_terms`.
    """

    study_hash: str
    question: Question
    answer: RecordDict | None = None
    is_held: bool = False
    terms: str = ""

    @property
    def key(self) -> tuple[str, str, str, str, int, str]:
        """Study, run, arm, kind, round and digest: what makes it the same question."""
        item = self.question.item
        digest = "" if item.kind in _WITHOUT_MODEL else self.question.digest
        return (self.study_hash, self.question.run, item.arm, item.kind, item.round, digest)


@dataclass(frozen=True)
class RunUsage:
    """What one run has asked.

    Parameters
    ----------
    run : str
        Name of the run.
    begun, last : float
        When it asked first and last, in seconds since 1970.
    answered : int
        Questions with an answer, which left or is held.
    unanswered : int
        Questions that are spent without an answer: they failed, or the site was stopped in the middle.
    held : int
        Answers that wait for a person to release them.
    has_begun : bool
        Whether it asked more than whether the site takes part, and so counts as a run of its approval.
    """

    run: str
    begun: float
    last: float
    answered: int
    unanswered: int
    held: int
    has_begun: bool


@dataclass(frozen=True)
class ApprovalUsage:
    """What an approval allows, and what was made of it.

    Parameters
    ----------
    study_hash, study_name : str
        The study.
    runs_allowed : int
        Runs that may begin in all, those that have included.
    questions_allowed : int, optional
        Most questions of one run; None before it asked the first.
    runs : tuple of RunUsage
        Runs that have joined, in the order in which they did.
    """

    study_hash: str
    study_name: str
    runs_allowed: int
    questions_allowed: int | None
    runs: tuple[RunUsage, ...]

    @property
    def runs_begun(self) -> int:
        """Runs that have begun, and count."""
        return sum(run.has_begun for run in self.runs)

    @property
    def runs_joined(self) -> int:
        """Runs that have joined and gone no further."""
        return len(self.runs) - self.runs_begun


@dataclass(frozen=True)
class HeldAnswer:
    """An answer that waits for a person to release it.

    Parameters
    ----------
    number : int
        Number of the question in the ledger.
    study_hash, study_name, run : str
        Study and run that asked; runs of two studies can have one name.
    item : Item
        What was asked.
    since : float
        When it was ready, in seconds since 1970.
    """

    number: int
    study_hash: str
    study_name: str
    run: str
    item: Item
    since: float


@dataclass(frozen=True)
class RunCases:
    """Patients that were fixed for a run; a run of which some had to be left out later has several of these.

    Parameters
    ----------
    study_hash, study_name, run : str
        Whose.
    splits : mapping of str to frozenset of str
        Members by split, as of `medfl.privacy.patient_sets`.
    """

    study_hash: str
    study_name: str
    run: str
    splits: Splits
