"""Questions that a study may ask of a hospital: a fixed list, derived from what the hospital approved and nothing else.

The site answers by this list, the server asks by it, and an approval tells it. What a message asks is its *item*: a kind, an
arm and a round. Its *question* is the item with everything that was received for it, model included, but without what changes
from one exchange to the next. So a repeated message is the same question, and another model for an item is another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flwr.app import ConfigRecord, MessageType, RecordDict

from medfl.errors import ExchangeError, PolicyError
from medfl.messages import records
from medfl.messages.digests import digest_record
from medfl.study import Study
from medfl.study.arms import OWN_MODEL_ARMS

Kind = Literal["join", "fingerprint", "train", "contribution", "validation", "test"]

# Keys that are no part of a question. Of which round a tested model is, only its keeper reads, and earlier servers did not say.
_VOLATILE = (records.EXCHANGE, records.AUDIT_HEAD, records.RUN_FOLDER, records.MODEL_ROUND)
_QUERIES: Mapping[str, Kind] = {records.JOIN: "join", records.FINGERPRINT: "fingerprint"}
# Order in which a round asks. A round that is done again after a crash may train a hospital that was away the first time, and
# had come back when the contributions were measured, so these two have no order.
_PHASES: Mapping[Kind, int] = {"train": 0, "contribution": 0, "validation": 1}


@dataclass(frozen=True, order=True)
class Item:
    """What a message asks.

    Parameters
    ----------
    arm : str
        Arm of the comparison; empty for ``join`` and ``fingerprint``.
    kind : str
        ``train``: score the received model, unless it is the first, and train it. ``contribution`` and ``validation``: score a
        model on the validation patients. ``test``: score one on the test patients.
    round : int
        The round; 0 where an arm asks once, whatever the round.
    """

    arm: str
    kind: Kind
    round: int = 0

    @property
    def position(self) -> tuple[int, int]:
        """Place in the order of an arm: nothing before it is asked any more once it was answered."""
        return (self.round, _PHASES[self.kind]) if self.kind in _PHASES else (1 << 62, 0)


@dataclass(frozen=True)
class Allowance:
    """How many questions a study asks of one kind.

    Parameters
    ----------
    arm, kind : str
        As in `Item`.
    rounds : sequence of int
        Rounds in which it may be asked; ``(0,)`` for what an arm asks once.
    models : int
        Different models that one item may be asked about.
    items : int
        Items of these that a run asks at most: all, or 1 where a run that stops early asks after its last round.
    """

    arm: str
    kind: Kind
    rounds: Sequence[int]
    models: int
    items: int

    @property
    def questions(self) -> int:
        """Questions of one run."""
        return self.items * self.models


def list_allowances(study: Study) -> tuple[Allowance, ...]:
    """Return everything that one run of a study may ask of a hospital, in the order in which it is asked."""
    allowances = [Allowance("", "join", (0,), 1, 1)]
    if study.task.kind == "segmentation":
        allowances.append(Allowance("", "fingerprint", (0,), 1, 1))
    for arm in study.arms:
        allowances += _list_arm_allowances(study, arm)
    return tuple(allowances)


def count_questions(study: Study) -> int:
    """Return the most questions that one run of a study asks of a hospital."""
    return sum(allowance.questions for allowance in list_allowances(study))


def _list_arm_allowances(study: Study, arm: str) -> Iterator[Allowance]:
    if arm == "ensemble":  # of a simulation; it trains nothing
        yield Allowance(arm, "test", (0,), 1, 1)
        return
    rounds = range(1, study.rounds_of(arm) + 1)  # a study may have any number of them, and this is asked with every message
    yield Allowance(arm, "train", rounds, 1, len(rounds))
    models = count_contribution_models(study)
    if arm == "federated" and models:  # the models that some of the hospitals would have made
        measured = range(study.contribution.every, study.rounds + 1, study.contribution.every)
        yield Allowance(arm, "contribution", measured, models, len(measured))
    if arm in OWN_MODEL_ARMS or (arm == "federated" and study.has_common_start):
        yield Allowance(arm, "validation", rounds, 1, 1)  # the last model; a run that stops early has it before the last round
    else:
        scored = _list_scored_rounds(study)
        yield Allowance(arm, "validation", scored, 1, len(scored))
    yield Allowance(arm, "test", (0,), (study.site_limit or 1) if arm == "local" else 1, 1)


def _list_scored_rounds(study: Study) -> Sequence[int]:
    """Return the rounds whose models may be scored in exchanges of their own, where no training reply scores them."""
    every, last = study.evaluation.every, study.rounds
    if study.strategy.patience:  # any round may be the last
        return range(1, last + 1)
    scored = range(every, last + 1, every)
    return scored if last % every == 0 else (*scored, last)


def count_contribution_models(study: Study) -> int:
    """Return how many further models the sites score in a round whose contributions are measured."""
    method, sites = study.contribution.method, study.site_limit or 0
    if "federated" not in study.arms or method not in ("shapley", "leave-one-out"):
        return 0
    return int(2**sites) if method == "shapley" else sites + 1  # of every subset; of all, and of all but each


def find_allowance(study: Study, item: Item) -> Allowance:
    """Return the allowance of a study for an item.

    Raises
    ------
    PolicyError
        ``QUESTION-UNKNOWN`` when the study asks nothing of the kind.
    """
    for allowance in list_allowances(study):
        if (allowance.arm, allowance.kind) == (item.arm, item.kind) and item.round in allowance.rounds:
            return allowance
    what = f"the server asks for {item.kind} of the arm {item.arm[:20]!r} in round {item.round}, and the study does not."
    raise PolicyError("QUESTION-UNKNOWN", what, "The server goes beyond the study.")


@dataclass(frozen=True)
class Question:
    """One question of the server: an item, and the digest of all that was received for it.

    Parameters
    ----------
    item : Item
        What is asked.
    run : str
        Name of the run, given by the server.
    digest : str
        SHA-256 in hexadecimal of the item and the records, without what changes from one exchange to the next.
    models : int
        Different models that the item may be asked about.
    """

    item: Item
    run: str
    digest: str
    models: int


def read_question(message_type: str, content: RecordDict, study: Study, run: str) -> Question:
    """Return the question of a message.

    Parameters
    ----------
    message_type : str
        Flower's type of the message.
    content : RecordDict
        What was received.
    study : Study
        The approved study.
    run : str
        Name of the run, where the message gives none.

    Raises
    ------
    PolicyError
        ``QUESTION-UNKNOWN`` when the study does not ask this, or does not have the round; ``ARM-FOREIGN``, when it does not
        have the arm.
    ExchangeError
        ``SPLIT-UNKNOWN`` or ``CONFIG-TYPE`` when the message does not say properly what it asks.
    """
    config = content.get(records.CONFIG)
    values: Mapping[str, object] = config if isinstance(config, ConfigRecord) else {}
    item = _read_item(message_type, values, study)
    models = find_allowance(study, item).models
    return Question(item, str(values.get(records.RUN, run)), _digest(item, content), models)


def _read_item(message_type: str, config: Mapping[str, object], study: Study) -> Item:
    if message_type in _QUERIES:
        return Item("", _QUERIES[message_type])
    arm = str(config.get(records.ARM, study.arms[0]))
    if arm not in study.arms:  # the arm decides which layers stay at the site
        raise PolicyError("ARM-FOREIGN", f"the server asks for the arm {arm[:20]!r}, which the study does not have.")
    server_round = config.get(records.ROUND)
    if type(server_round) is not int:
        raise ExchangeError("CONFIG-TYPE", f"{records.ROUND} is missing or not a whole number.", "It must be a whole number.")
    if message_type == MessageType.TRAIN:
        return Item(arm, "train", _check_round(study, server_round))
    if message_type != MessageType.EVALUATE:
        raise PolicyError("QUESTION-UNKNOWN", "the server sent a kind of message that no study needs.")
    split = config.get(records.SPLIT)
    if split == "test":
        _check_round(study, server_round - 1)  # a test has the number after the last round
        return Item(arm, "test")
    if split != "validation":
        raise ExchangeError("SPLIT-UNKNOWN", "the server asked for an unknown split.", "It can be validation or test.")
    _check_round(study, server_round)
    return Item(arm, "contribution" if config.get(records.TRIAL) else "validation", server_round)


def _check_round(study: Study, server_round: int) -> int:
    if not 1 <= server_round <= study.rounds:
        what = f"the server asks for round {server_round}, and the study has {study.rounds}."
        raise PolicyError("QUESTION-UNKNOWN", what, "The server goes beyond the study.")
    return server_round


def _digest(item: Item, content: RecordDict) -> str:
    digest = hashlib.sha256(f"{item.arm}|{item.kind}|{item.round}\n".encode())
    for name in sorted(content):
        without = _VOLATILE if name == records.CONFIG else ()
        digest.update(f"{len(name)}|{name}|{type(content[name]).__name__}|{digest_record(content[name], without)}\n".encode())
    return digest.hexdigest()
