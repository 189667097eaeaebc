"""Hospitals that count what they are asked, as real ones do, and whose answers are made up: a run takes a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Error, Message, MessageType, RecordDict

from medfl import metrics, server_app
from medfl.clients.received_extras import check_configuration, check_extras
from medfl.errors import MedflError, safe_reason, safe_sentence
from medfl.flower import compat
from medfl.flower.compat import NodeInfo
from medfl.grids.grid_wrapper import GridWrapper, WaitingGrid
from medfl.grids.packing import unpack_content
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_records import ApprovalUsage
from medfl.privacy.questions import Item, read_question
from medfl.runs.history import Event, History, read_history
from medfl.study import Study, study_from_run_config

NAMES = {2: "aachen", 3: "bergen", 4: "cadiz"}
CONFIG: dict[str, Any] = {
    "name": "liver",
    "rounds": 3,
    "task.kind": "segmentation",
    "task.dimension": 2,
    "task.modality": "CT",
    "task.classes": "background,liver",
    "network.name": "unet",
    "network.channels": "4,8",
    "loss.name": "dice-ce",
    "strategy.wait": 0.1,
    "strategy.quorum": 2,
    "server.enrolled": ",".join(NAMES.values()),
    "server.run": "run",
}
_SHARED = {"conv.weight": np.zeros((2, 3), np.float32)}
_WHOLE = _SHARED | {"norm.weight": np.ones(3, np.float32)}  # with a layer that stays at the sites, if some do


class CountedSite:
    """A hospital whose ledger decides what is answered; the answer depends on the question alone.

    Attributes
    ----------
    asked : list of Item
        What the server asked.
    refused : list of (Item, str)
        What of it was not answered, with the code.
    fails : bool
        Whether it cannot train, for a reason that depends on its data.
    told, patients : int
        Training patients that it tells of when it joins, and that its replies claim.
    """

    def __init__(self, name: str, study: Study, folder: Path) -> None:
        self.name, self._study, self._ledger = name, study, Ledger(folder)
        self.asked: list[Item] = []
        self.refused: list[tuple[Item, str]] = []
        self.fails = False
        self.told, self.patients = 20, 2  # for training: at joining, and in each reply

    def answer(self, message: Message) -> Message:
        content = unpack_content(message.content)
        question = read_question(message.metadata.message_type, content, self._study, "run")
        self.asked.append(question.item)
        check_configuration(content)
        received = {name: records.array_views(r) for name, r in content.items() if isinstance(r, ArrayRecord)}
        model = received.pop(records.ARRAYS, {})
        check_extras(received, model, model, question.item, self._study)  # raises, as what a server sends always fits
        try:
            reservation = self._ledger.reserve(self._study.approved_hash(), question, self._study)
        except MedflError as error:
            self.refused.append((question.item, error.code))
            return Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_reason(error)), reply_to=message)
        if self.fails and question.item.kind == "train":
            self._ledger.fail(reservation, "LOSS-NONFINITE")
            reason = safe_sentence("NOT-ANSWERED")
            return Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
        if reservation.answer is None:
            reservation = self._ledger.settle(reservation, self._compute(message.metadata.message_type, content))
        assert reservation.answer is not None
        answer = RecordDict(dict(reservation.answer.items()))
        stamps = {key: content["config"].get(key) for key in (records.RUN, records.ROUND, records.EXCHANGE)}
        answer.config_records[records.SITE].update({key: value for key, value in stamps.items() if value is not None})
        return Message(answer, reply_to=message)

    def list_usage(self) -> tuple[ApprovalUsage, ...]:
        return self._ledger.list_usage()

    def _compute(self, message_type: str, content: RecordDict) -> RecordDict:
        if message_type == records.JOIN:
            counts: Metrics = {f"join.{s}-{w}": 20 for s in ("train", "validation", "test") for w in ("patients", "cases")}
            counts |= dict.fromkeys(("join.train-patients", "join.train-cases"), self.told)
            info = {"excluded": "", "warnings": "", "patient-ids": "yes", records.MODEL_HASH: records.layout_hash(_SHARED)}
            return records.build_reply_content(self.name, counts, site_info=info)
        received = {name: records.from_array_record(r) for name, r in content.items() if isinstance(r, ArrayRecord)}
        scores = self._score(received["arrays"])
        if message_type == MessageType.EVALUATE:
            return records.build_reply_content(self.name, scores | metrics.as_personal(scores))
        step = np.float32(2 ** (ord(self.name[0]) - ord("a")))  # so that every subset of the sites has another mean
        model = {name: array + step for name, array in received.pop("arrays").items()}
        numbers: Metrics = dict.fromkeys((records.TRAIN_PATIENTS, records.TRAIN_SAMPLES, records.TRAIN_STEPS), self.patients)
        losses: Metrics = dict.fromkeys((records.TRAIN_LOSS, records.TRAIN_LOSS_BEFORE, records.TRAIN_SECONDS), 0.5)
        return records.build_reply_content(self.name, numbers | losses | scores, model, {}, received)

    def _score(self, model: dict[str, Any]) -> Metrics:
        digest = hashlib.sha256(self.name.encode() + b"".join(array.tobytes() for array in model.values())).digest()
        scores = {"eval.patients": 20, "eval.patients.liver": 20, "eval.dice.liver": digest[0] / 255}
        return metrics.empty_metrics(self._study) | scores


class CountedGrid(WaitingGrid):
    """The way to these hospitals, some of which may be away, or slow to answer.

    Parameters
    ----------
    sites : dict of int to CountedSite
        By node.
    away : set of int
        Nodes that are not connected.
    slow : dict of int to int
        How often a node's answer to a training message is looked for in vain.
    """

    def __init__(self, sites: dict[int, CountedSite], away: Iterable[int] = (), slow: dict[int, int] | None = None) -> None:
        self._sites, self._away, self._slow = sites, frozenset(away), slow or {}
        self._replies: dict[str, Message] = {}
        self._waits: dict[str, int] = {}
        compat.identify_process(1, compat.SERVER_NODE_ID)

    def set_run(self, run: compat.Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> compat.Run:
        return compat.empty_run(1)

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in self._sites if node not in self._away]

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node, name=self._sites[node].name) for node in self.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._ask(message) for message in messages]

    def _ask(self, message: Message) -> str:
        identifier, node = compat.assign_message_id(message), message.metadata.dst_node_id
        compat.identify_process(1, node)
        self._replies[identifier] = self._sites[node].answer(message)
        self._waits[identifier] = self._slow.get(node, 0) if message.metadata.message_type == MessageType.TRAIN else 0
        compat.identify_process(1, compat.SERVER_NODE_ID)
        return identifier

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(i) for i in message_ids if i in self._replies and self._is_there(i)]

    def _is_there(self, identifier: str) -> bool:
        self._waits[identifier] -= 1
        return self._waits[identifier] < 0

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError  # a run looks for each answer by itself


class Federation:
    """Hospitals and the run that a server conducts with them, which may be killed and resumed.

    Parameters
    ----------
    folder : Path
        For the run and what the hospitals keep.
    **changes
        Keys of the study with other values, ``__`` for a dot and ``_`` for a hyphen.
    """

    def __init__(self, folder: Path, **changes: Any) -> None:
        own = {key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()}
        self.config = CONFIG | own | {"server.out": str(folder / "out")}
        self.study = study_from_run_config(self.config)
        self.sites = {node: CountedSite(name, self.study, folder / name) for node, name in NAMES.items()}

    def conduct(self, *, resume: bool = False, away: Iterable[int] = (), slow: dict[int, int] | None = None) -> None:
        state = RecordDict({records.INITIAL: records.to_array_record(_SHARED)})
        if self.study.local_layers:
            state[records.INITIAL_FULL] = records.to_array_record(_WHOLE)
        config = self.config | {"server.resume": resume}
        server_app.main(CountedGrid(self.sites, away, slow), Context(1, 1, {}, state, config))

    def events(self) -> list[Event]:
        return read_history(Path(str(self.config["server.out"])) / self.study.name / "run")

    def asked(self, node: int = 2) -> list[Item]:
        return self.sites[node].asked

    def usage(self) -> list[ApprovalUsage]:
        return [usage for site in self.sites.values() for usage in site.list_usage()]

    def refused(self) -> list[tuple[str, Item, str]]:
        return [(site.name, *refusal) for site in self.sites.values() for refusal in site.refused]


class Killed(BaseException):
    """The process of the server is gone."""


@contextmanager
def killed_before(step: int | str) -> Iterator[list[str]]:
    """Kill the server before one of its steps: a line of the history, or a look for answers to what it has just sent.

    Parameters
    ----------
    step : int or str
        Number of the step, counted from 0, negative for none; or the first event of this kind.

    Yields
    ------
    list of str
        The steps that were done: kinds of events, or "sent".
    """
    done: list[str] = []
    append, push_messages, is_dead = History.append, GridWrapper.push_messages, False

    def begin(name: str) -> None:
        nonlocal is_dead
        is_dead = is_dead or step in (len(done), name)
        if is_dead:  # nothing is written any more, not even an end
            raise Killed
        done.append(name)

    def counted_append(history: History, event: Mapping[str, Any]) -> None:
        begin(event["event"])
        append(history, event)

    def counted_push(grid: GridWrapper, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = push_messages(grid, messages)
        begin("sent")
        return identifiers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "append", counted_append)
        patch.setattr(GridWrapper, "push_messages", counted_push)
        yield done
