"""Rules by which a site takes a question: pure functions of the question and of what the run has been asked before.

What is asked once is spent, whether an answer left, failed, or was never finished: a site that is killed in the middle has
counted. The same question, to the last bit, is never a new one. It gets the answer that is kept, or is computed again when
there never was one. So a run that is resumed goes on to the same bits, and asking twice tells a server nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medfl.errors import PolicyError
from medfl.privacy.questions import Item, Question, find_allowance
from medfl.study import Study

_FIX = "The server asks again for what is over; who runs it can say why."


@dataclass(frozen=True)
class Asked:
    """A question that the run has asked before.

    Parameters
    ----------
    item : Item
        What was asked.
    digest : str
        Digest of the question.
    is_answered : bool
        Whether an answer was kept for it, which left or could have left.
    """

    item: Item
    digest: str
    is_answered: bool


def check_question(question: Question, study: Study, asked: Sequence[Asked]) -> None:
    """Allow a question to be computed: a new one, or the same one again of which there is no answer.

    Parameters
    ----------
    question : Question
        What is asked now.
    study : Study
        The approved study.
    asked : sequence of Asked
        What the same arm of the same run asked before.

    Raises
    ------
    PolicyError
        ``QUESTION-ANSWERED`` when the item was asked with as many other models as it may be; ``QUESTION-ORDER`` when the arm
        has an answer to what comes later, was asked a later round, was tested, or had its closing validation;
        ``QUESTION-UNKNOWN`` when the study does not ask it.
    """
    item = question.item
    _check_order(item, study, asked)
    before = [each for each in asked if each.item == item]
    if any(each.digest == question.digest for each in before):
        return  # reserved before, and never answered
    if len(before) >= question.models:
        what = f"the server asks for {_name(item)} with another model than before."
        raise PolicyError("QUESTION-ANSWERED", what, "What was asked once is spent. " + _FIX)
    others = {each.item for each in asked if each.item.kind == item.kind} - {item}
    if len(others) >= find_allowance(study, item).items:
        raise _order_error(item, "the study asks it once, and it was asked in another round")


def _check_order(item: Item, study: Study, asked: Sequence[Asked]) -> None:
    """Nothing is computed any more that lies before what was answered, or after what ends an arm."""
    if item.kind in ("join", "fingerprint", "test"):
        return
    if any(each.item.kind == "test" for each in asked):
        raise _order_error(item, "this arm was tested, which ends it")
    closes = item.arm != "federated" or study.has_common_start
    if closes and item.kind != "validation" and any(each.item.kind == "validation" for each in asked):
        raise _order_error(item, "the last model of this arm was scored, which ends its training")
    if any(each.is_answered and each.item.position > item.position for each in asked):
        raise _order_error(item, "this site has answered what comes after it")
    if any(each.item.round > item.round for each in asked):  # or what failed there is tried again after each earlier round
        raise _order_error(item, "this site was asked a later round")


def _order_error(item: Item, why: str) -> PolicyError:
    return PolicyError("QUESTION-ORDER", f"the server asks for {_name(item)}: {why}.", _FIX)


def _name(item: Item) -> str:
    return f"{item.kind} of the arm {item.arm!r}" + (f" in round {item.round}" if item.round else "")
