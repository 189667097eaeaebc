"""Simulated hospitals in this process: a whole run without a worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import Context, Message, RecordDict

from medfl import server_app
from medfl.client_app import app
from medfl.flower import compat
from medfl.grids.grid_wrapper import WaitingGrid


class DirectGrid(WaitingGrid):
    """Simulated hospitals that answer in this process, at once."""

    def __init__(self, config: dict[str, Any], nodes: int = 3) -> None:
        self._contexts = {
            2 + k: Context(1, 2 + k, {"partition-id": k, "num-partitions": nodes}, RecordDict(), config) for k in range(nodes)
        }
        self._replies: dict[str, Message] = {}
        compat.identify_process(1, compat.SERVER_NODE_ID)

    def set_run(self, run: compat.Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> compat.Run:
        return compat.empty_run(1)

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            identifiers.append(compat.assign_message_id(message))
            context = self._contexts[message.metadata.dst_node_id]
            compat.identify_process(1, context.node_id)
            self._replies[identifiers[-1]] = app(message, context)
            compat.identify_process(1, compat.SERVER_NODE_ID)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(identifier) for identifier in message_ids if identifier in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))


def conduct(config: dict[str, Any], nodes: int = 3) -> None:
    """Conduct the study of a run configuration."""
    server_app.main(DirectGrid(config, nodes), Context(1, 1, {}, RecordDict(), config))
