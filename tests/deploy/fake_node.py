"""Fakes of a site's SuperNode and of the server behind it: they hand messages to a worker, and record its replies."""

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
from tests.studies import NODULE_STUDY

SERVER, NODE, RUN = 1, 5, 7
PLANTED = "PATIENT_DOE"
TOKEN = TaskToken(CLIENT_TASK, "token")


class FakeTask(NodeTask):
    """One message, as the SuperNode has it."""

    def __init__(
        self, job: TaskInput, *, known: bool = True, failure: type[Exception] = Unreachable, fails_at: str = ""
    ) -> None:
        self.job, self.known, self.failure, self.fails_at = job, known, failure, fails_at
        self.replies: list[Message] = []
        self.results: list[bool] = []

    def pull(self) -> TaskInput:
        if self.fails_at == "pull":
            raise self.failure(PLANTED)
        return self.job

    def send_heartbeat(self) -> bool:
        return self.known

    def push(self, reply: Message) -> None:
        if self.fails_at == "push":
            raise self.failure(PLANTED)
        self.replies.append(reply)

    def finish(self, *, well: bool) -> None:
        self.results.append(well)


class FakeServer:
    """The server, for what a site asks it besides the exchanges."""

    over = False

    def __init__(self, *_: object) -> None: ...

    def is_over(self, run: int, node_id: int) -> bool:
        return self.over and (run, node_id) == (RUN, NODE)


class FakeNode(NodeTasks):
    """The tasks of a SuperNode, one after the other; None when there is no task, or it does not answer."""

    def __init__(self, *turns: Callable[[], FakeTask | None]) -> None:
        self.turns, self.opened = list(turns), list[FakeTask]()

    def acquire(self) -> TaskToken | None:
        task = self.turns.pop(0)()
        if task is None:
            return None
        self.opened.append(task)
        return TOKEN

    def open_task(self, token: TaskToken) -> FakeTask:
        return self.opened[-1]


def job(kind: str = records.JOIN, **changes: Any) -> TaskInput:
    """Return a message as a SuperNode hands it over, with the bundle of the study of these tests."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("pyproject.toml", NODULE_STUDY.replace('data = ""\nstore = ""\n', ""))
    config = flatten(tomllib.loads(NODULE_STUDY)["tool"]["flwr"]["app"]["config"])
    config = {key: value for key, value in config.items() if key not in ("simulation.data", "simulation.store")}
    compat.identify_process(RUN, SERVER)
    request = ConfigRecord({records.RUN: "run-1", records.ROUND: 2})
    message = Message(RecordDict({records.CONFIG: request}), dst_node_id=NODE, message_type=kind)
    compat.assign_message_id(message)
    foreign = RecordDict({"planted": ConfigRecord({"state": "of the SuperNode"})})
    context = Context(RUN, NODE, {"site": "/somewhere/else.toml", "partition-id": 0}, foreign, config | changes)
    return TaskInput(message, context, RUN, out.getvalue(), changes)
