"""Fake grid: a federation of made-up nodes whose answers the test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from medfl.flower import compat
from medfl.messages.records import ARRAYS, METRICS, to_array_record

Answer = Callable[[Message], Message | None]
Model = dict[str, NDArray[Any]]


class FakeGrid(Grid):
    """A Grid whose nodes answer at once.

    Parameters
    ----------
    answers : mapping of int to callable
        Function for each node that answers a message; an answer of None never comes.
    order : iterable of int, optional
        Nodes in the order in which their replies arrive; the order of `answers` unless given.

    Attributes
    ----------
    messages : list of Message
        All messages so far.
    """

    def __init__(self, answers: Mapping[int, Answer], order: Iterable[int] | None = None) -> None:
        self.answers, self.order = dict(answers), list(order or answers)
        self.messages: list[Message] = []
        self._replies: dict[str, Message] = {}

    def set_run(self, run: compat.Run) -> None:
        """Set the run that messages belong to."""
        self._run = run

    @property
    def run(self) -> compat.Run:
        """The run that messages belong to."""
        return self._run

    def create_message(self, *args: object, **kwargs: object) -> Message:
        """Flower's old way to create a message, which medfl does not use."""
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes."""
        return list(self.answers)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have the nodes answer, and return the identifiers of the messages."""
        pushed = list(messages)
        for message in pushed:
            compat.assign_message_id(message)
        for node in self.order:
            for message in pushed:
                if message.metadata.dst_node_id == node:
                    reply = self.answers[node](message)
                    if reply is not None:
                        self._replies[message.metadata.message_id] = reply
        self.messages += pushed
        return [m.metadata.message_id for m in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push messages and return all replies, in the order of arrival."""
        wanted = set(self.push_messages(messages))
        return [self._replies.pop(i) for i in list(self._replies) if i in wanted]


def reply_with_model(values: Mapping[str, NDArray[Any]], weight: float, key: str = "num-examples", **more: float) -> Answer:
    """Answer with a model, its weight under `key`, and a loss of 0.5."""
    metrics = MetricRecord({key: weight, "loss": 0.5, **more})
    return lambda message: Message(RecordDict({ARRAYS: to_array_record(values), METRICS: metrics}), reply_to=message)


def reply_with_error(code: int, reason: str, *, as_server: bool = False) -> Answer:
    """Answer with an error, as the node or as the server that lost it."""

    def answer(message: Message) -> Message:
        reply = Message(Error(code, reason), reply_to=message)
        if as_server:
            compat.mark_as_from_server(reply)
        return reply

    return answer


def reply_with_content(content: RecordDict) -> Answer:
    """Answer with any content."""
    return lambda message: Message(content, reply_to=message)


def make_model(value: float, size: int = 3) -> Model:
    """Build a small model: a matrix, a scalar, and a counter."""
    return {
        "weight": np.full((2, size), value, np.float32),
        "scale": np.array(value, np.float32),
        "steps": np.array(int(abs(value)), np.int64),
    }
