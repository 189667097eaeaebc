"""A site's SuperNode, and the server behind it, played for a worker: they hand messages over, and keep what they are given."""

from __future__ import annotations

import io
import tomllib
import zipfile
from collections.abc import Callable
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict

from medfl.flower import compat
from medfl.flower.tasks import CLIENT_TASK, NodeTask, NodeTasks, TaskInput, TaskToken, Unreachable
from medfl.messages import records
from medfl.study import flatten
from tests.conftest import NODULE_STUDY

SERVER, NODE, RUN = 1, 5, 7
PLANTED = "PATIENT_DOE"
TICKET = TaskToken(CLIENT_TASK, "token")


class Task(NodeTask):
    """What the SuperNode knows of one message."""

    def __init__(self, job: TaskInput, *, known: bool = True, lost: type[Exception] = Unreachable, at: str = "") -> None:
        self.job, self.known, self.lost, self.at = job, known, lost, at
        self.replies: list[Message] = []
        self.ended: list[bool] = []

    def pull(self) -> TaskInput:
        if self.at == "pull":
            raise self.lost(PLANTED)
        return self.job

    def send_heartbeat(self) -> bool:
        return self.known

    def push(self, reply: Message) -> None:
        if self.at == "push":
            raise self.lost(PLANTED)
        self.replies.append(reply)

    def finish(self, *, well: bool) -> None:
        self.ended.append(well)


class Server:
    """What a site may ask the server beside the exchanges."""

    over = False

    def __init__(self, *_: object) -> None: ...

    def is_over(self, run: int, node_id: int) -> bool:
        return self.over and (run, node_id) == (RUN, NODE)


class Node(NodeTasks):
    """The tasks of a SuperNode, one after the other; None for a look at which there is none, or it does not answer."""

    def __init__(self, *turns: Callable[[], Task | None]) -> None:
        self.turns, self.opened = list(turns), list[Task]()

    def acquire(self) -> TaskToken | None:
        task = self.turns.pop(0)()
        if task is None:
            return None
        self.opened.append(task)
        return TICKET

    def open_task(self, ticket: TaskToken) -> Task:
        return self.opened[-1]


def job(kind: str = records.JOIN, **changes: Any) -> TaskInput:
    """Return a message as a SuperNode hands it over, with the bundle of the study of these tests."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("pyproject.toml", NODULE_STUDY.replace('data = ""\nstore = ""\n', ""))
    config = flatten(tomllib.loads(NODULE_STUDY)["tool"]["flwr"]["app"]["config"])
    config = {key: value for key, value in config.items() if key not in ("simulation.data", "simulation.store")}
    compat.identify_process(RUN, SERVER)
    told = ConfigRecord({records.RUN: "run-1", records.ROUND: 2})
    message = Message(RecordDict({records.CONFIG: told}), dst_node_id=NODE, message_type=kind)
    compat.assign_message_id(message)
    foreign = RecordDict({"planted": ConfigRecord({"state": "of the SuperNode"})})
    context = Context(RUN, NODE, {"site": "/somewhere/else.toml", "partition-id": 0}, foreign, config | changes)
    return TaskInput(message, context, RUN, out.getvalue(), changes)
