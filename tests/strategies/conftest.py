"""A federation of invented nodes: what each answers is decided by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pytest
from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from medfl import flower_compat, records

Answer = Callable[[Message], Message | None]


class FakeGrid(Grid):
    """Nodes that answer at once, in a given order; an answer of None never comes."""

    def __init__(self, answers: Mapping[int, Answer], order: Iterable[int] | None = None) -> None:
        self.answers, self.order = dict(answers), list(order or answers)
        self.asked: list[Message] = []
        self._replies: dict[str, Message] = {}

    def set_run(self, run: flower_compat.Run) -> None:
        self._run = run

    @property
    def run(self) -> flower_compat.Run:
        return self._run

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.answers)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed = list(messages)
        for message in pushed:
            flower_compat.give_message_id(message)
        for node in self.order:
            for message in pushed:
                if message.metadata.dst_node_id == node:
                    reply = self.answers[node](message)
                    if reply is not None:
                        self._replies[message.metadata.message_id] = reply
        self.asked += pushed
        return [m.metadata.message_id for m in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        wanted = set(self.push_messages(messages))
        return [self._replies.pop(i) for i in list(self._replies) if i in wanted]


def trained(values: Mapping[str, np.ndarray], weight: float, key: str = "num-examples", **more: float) -> Answer:
    """Answer with a model."""

    def answer(message: Message) -> Message:
        metrics = MetricRecord({key: weight, "loss": 0.5, **more})
        return Message(RecordDict({"arrays": records.to_array_record(values), "metrics": metrics}), reply_to=message)

    return answer


def failed(code: int, reason: str, *, as_server: bool = False) -> Answer:
    """Answer with an error, as the node or as the server that lost it."""

    def answer(message: Message) -> Message:
        reply = Message(Error(code, reason), reply_to=message)
        if as_server:
            reply.metadata.__dict__["_src_node_id"] = 1
        return reply

    return answer


def contents(content: RecordDict) -> Answer:
    """Answer with any content."""
    return lambda message: Message(content, reply_to=message)


def model(value: float, size: int = 3) -> dict[str, np.ndarray]:
    """Make a small model: a matrix, a scalar, and a counter."""
    return {
        "weight": np.full((2, size), value, np.float32),
        "scale": np.array(value, np.float32),
        "steps": np.array(int(abs(value)), np.int64),
    }


@pytest.fixture(autouse=True)
def _process() -> None:
    flower_compat.identify_process(1, flower_compat.SERVER_NODE_ID)


@pytest.fixture
def initial() -> ArrayRecord:
    return records.to_array_record(model(0.0))


@pytest.fixture
def fake() -> type[FakeGrid]:
    return FakeGrid


class Make:
    """What tests build answers with."""

    trained, failed, contents, model = staticmethod(trained), staticmethod(failed), staticmethod(contents), staticmethod(model)


@pytest.fixture
def make() -> type[Make]:
    return Make
