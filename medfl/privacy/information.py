"""The sum of what a study can learn from a site: messages, numbers and bits, an upper bound for whatever the server sends.

It is made of the list of questions (`medfl.privacy.questions`) and of how many answers there can be to each
(`medfl.privacy.outcomes`). Trained models are counted in bytes, beside it: they hold more than any rule here can bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from medfl.errors.codes import load_codes
from medfl.messages.records import TRAIN_LOSS, TRAIN_LOSS_BEFORE
from medfl.planning import bins
from medfl.planning.fingerprint import Scope
from medfl.privacy.ledger_rows import JOINED_RUNS_ALLOWED, RUNS_ALLOWED
from medfl.privacy.outcomes import (
    FLOAT_BITS,
    Content,
    SplitSize,
    count_count,
    count_histogram,
    count_mean,
    count_scores,
    count_sizes,
)
from medfl.privacy.policy_checks import may_leave, may_tell_losses
from medfl.privacy.questions import Allowance, Item, list_allowances
from medfl.privacy.score_rounding import count_trained
from medfl.site import Policy
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

Sizes = Mapping[str, SplitSize]  # by split; a split that is missing was not counted
UpdateBytes = Mapping[str, int]  # bytes of one trained model as it leaves, by arm
Subject = Literal["scores", "data", "times"]

_FLOWER_KEEPS_SECONDS = 12 * 3600
_JOIN_CODES = 5  # joined, SITE-TOO-SMALL, SITE-EXCLUDED, POLICY-PATIENTS, NOT-ANSWERED
_SPLITS = ("train", "validation", "test")
_MOST_LEFT_OUT = 1_000_000  # files that a site has beside the cases that it uses
_MAX_HU = 2**14  # no value of a CT is larger
_DATA_SECTIONS = frozenset(
    {
        "DICOM series",
        "NIfTI files",
        "Images",
        "Labels",
        "Patients and splits",
        "The data folder and its index",
        "Prepared data, predictions and the disk",
    }
)


@dataclass(frozen=True)
class Part:
    """One kind of question in one arm, and the most that the answers of one run can tell.

    Parameters
    ----------
    arm, kind : str
        As in `medfl.privacy.questions.Item`.
    subject : {"scores", "data", "times"}
        ``scores``: what depends on the model that was sent, whether there is an answer included. ``data``: counts that are the
        same whatever is sent. ``times``: seconds of work.
    questions : int
        Questions of one run.
    content : Content
        Numbers and bits of all these answers together.
    """

    arm: str
    kind: str
    subject: Subject
    questions: int
    content: Content


@dataclass(frozen=True)
class Information:
    """What a study can learn from a site at most.

    Parameters
    ----------
    parts : tuple of Part
        All of one run.
    runs : int
        Runs of the approval.
    joined_runs : int
        Further runs, which only join.
    updates : int
        Trained models that leave in one run.
    update_bytes : int or None
        Bytes of them together; None where the size of the model is not known.
    unknown_algorithm : bool
        Whether the algorithm comes from another package, and may add numbers that are not counted here.
    """

    parts: tuple[Part, ...]
    runs: int
    joined_runs: int
    updates: int
    update_bytes: int | None
    unknown_algorithm: bool = False

    @property
    def questions(self) -> int:
        """Questions of one run."""
        return sum(part.questions for part in self.parts if part.subject == "scores")

    def content(self, subject: Subject) -> Content:
        """Return what one run can tell about a subject."""
        return sum((part.content for part in self.parts if part.subject == subject), Content())

    def total(self, subject: Subject) -> Content:
        """Return what all runs together can tell about a subject, with those that only join.

        An answer to joining depends on the data alone, and is the same in each run while these are; they may change in between.
        """
        joining = (part.content for part in self.parts if part.subject == subject and part.kind == "join")
        return self.content(subject) * self.runs + sum(joining, Content()) * self.joined_runs

    def bytes_of(self, subject: Subject) -> int:
        """Return what one run can tell about a subject, in bytes, rounded up."""
        return math.ceil(self.content(subject).bits / 8)

    def total_bytes_of(self, subject: Subject) -> int:
        """Return what all runs together can tell about a subject, in bytes, rounded up."""
        return math.ceil(self.total(subject).bits / 8)


def bound_information(
    study: Study,
    policy: Policy,
    sizes: Sizes | None = None,
    *,
    update_bytes: UpdateBytes | None = None,
    runs: int = RUNS_ALLOWED,
    joined_runs: int = JOINED_RUNS_ALLOWED,
) -> Information:
    """Return the most that a study can learn from a site.

    Parameters
    ----------
    study : Study
        Decides what is asked.
    policy : Policy
        Decides what of each answer leaves.
    sizes : mapping of str to SplitSize, optional
        Patients by split; `medfl.privacy.outcomes.MOST_PATIENTS` each unless given.
    update_bytes : mapping of str to int, optional
        Bytes of one trained model as it leaves, by arm.
    runs : int
        Runs of the approval.
    joined_runs : int
        Further runs, which only join.
    """
    allowances = list_allowances(study)
    parts = [part for allowance in allowances for part in _list_parts(study, policy, dict(sizes or {}), allowance)]
    trained = {allowance.arm: allowance.questions for allowance in allowances if allowance.kind == "train"}
    total = None if update_bytes is None else sum(count * update_bytes[arm] for arm, count in trained.items())
    return Information(tuple(parts), runs, joined_runs, sum(trained.values()), total, study.strategy.name not in ALGORITHMS)


def count_told(study: Study, policy: Policy, sizes: Sizes | None, items: Iterable[Item]) -> Content:
    """Return the most that the scores and codes of certain answers can have told, as for a run that is not over.

    Parameters
    ----------
    study, policy, sizes
        As for `bound_information`.
    items : iterable of Item
        What was asked, once for each model.
    """
    return sum((_count_scores(study, policy, sizes or {}, item) for item in items), Content())


def _list_parts(study: Study, policy: Policy, sizes: Sizes, allowance: Allowance) -> Iterator[Part]:
    arm, kind, questions = allowance.arm, allowance.kind, allowance.questions
    each = [_count_scores(study, policy, sizes, Item(arm, kind, number)) for number in allowance.rounds]
    scores = sum(each, Content()) if kind == "train" else each[0] * questions
    yield Part(arm, kind, "scores", questions, scores)
    if kind == "join":
        yield Part(arm, kind, "data", questions, _count_joining(study, sizes))
    elif kind == "fingerprint":
        yield Part(arm, kind, "data", questions, _count_fingerprint(study, sizes))
    elif kind == "train":
        yield Part(arm, kind, "times", questions, _count_time(policy) * questions)


def _count_scores(study: Study, policy: Policy, sizes: Sizes, item: Item) -> Content:
    """Return what the scores and the code of one answer can tell."""
    if item.kind == "join":
        return Content(0, math.log2(_JOIN_CODES))
    code = Content(0, 1.0)  # whether there is an answer: one bit, as long as what failed once fails in each attempt
    if item.kind == "fingerprint":
        return code
    if item.kind == "test":
        models = 2 if item.arm == "federated" and study.has_personal_models else 1
        return code + count_scores(study, policy, _size(sizes, "test"), test=True) * models
    scores = count_scores(study, policy, _size(sizes, "validation"), test=False)
    if item.kind != "train":
        return code + scores
    losses = sum(may_leave(policy, key) for key in _list_losses(study)) if may_tell_losses(study, policy) else 0
    is_scored = item.round > 1 and (item.round - 1) % study.evaluation.every == 0  # the received model, unless it is the first
    return code + count_mean(count_trained(study, _size(sizes, "train").patients), policy) * losses + scores * int(is_scored)


def _list_losses(study: Study) -> tuple[str, ...]:
    return (TRAIN_LOSS, TRAIN_LOSS_BEFORE) if study.strategy.name == "qfedavg" else (TRAIN_LOSS,)


def _count_joining(study: Study, sizes: Sizes) -> Content:
    """Return what the answer to joining can tell, and the numbers of patients behind losses and scores, which stay the same."""
    each = [_size(sizes, split) for split in _SPLITS]
    cases = _cases(sizes, _SPLITS)
    counts = sum((count_count(size.patients) + count_count(size.cases) for size in each), Content())
    found = count_count(cases + _MOST_LEFT_OUT) * (2 * _count_data_codes())  # errors, and warnings
    exact = count_count(each[0].patients) + count_count(each[0].cases)
    words = Content(1 + len(study.task.foreground), 1.0 + len(study.task.foreground))  # ids of patients, annotated classes
    scored = sum((count_sizes(study, size) for size in each[1:]), Content())
    return counts + found + exact + words + scored


def _count_fingerprint(study: Study, sizes: Sizes) -> Content:
    """Return what the fingerprint can tell: counts of cases, and in CT a histogram of grey values in fine steps."""
    cases = _cases(sizes, ("train", "validation"))
    left_out = count_count(cases + _MOST_LEFT_OUT) * _count_data_codes()
    shapes = Scope.from_study(study).shapes
    content = count_count(cases) * 3 + left_out  # cases, cropped, marked
    for name in ("spacing", "extent", "size"):
        axes, width = shapes[name]
        content += count_histogram(width, cases, 1) * axes
    (foreground,) = shapes["present"]
    content += (count_count(cases) + count_count(cases * bins.FRACTION_SCALE) + Content(1, 1.0)) * foreground
    channels, width = shapes["intensities"]
    content += count_count(cases * bins.FRACTION_SCALE) * (channels * width)
    content += count_count(2 * cases * _MAX_HU * bins.MOMENT_SCALE) * channels
    return content + count_count(cases * _MAX_HU**2 * bins.MOMENT_SCALE) * channels


def _count_data_codes() -> int:
    return sum(code.section in _DATA_SECTIONS for code in load_codes().values())


def _count_time(policy: Policy) -> Content:
    """Return what the seconds of one training can tell: whole ones, at most as long as Flower keeps a message."""
    if policy.scores == "exact":
        return Content(1, FLOAT_BITS)
    return count_count(math.ceil(60 * policy.max_minutes or _FLOWER_KEEPS_SECONDS))


def _size(sizes: Sizes, split: str) -> SplitSize:
    return sizes.get(split, SplitSize())


def _cases(sizes: Sizes, splits: tuple[str, ...]) -> int:
    return sum(_size(sizes, split).cases for split in splits)
