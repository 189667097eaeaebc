"""Flower's Grid over the worker pool: messages go to processes of this machine and nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from flwr.app import Context, Message, RecordDict

from medfl.flower import compat
from medfl.grids.grid_wrapper import WaitingGrid
from medfl.simulation.worker_pool import WorkerPool
from medfl.study.study_file import Scalar

_FIRST_NODE = compat.SERVER_NODE_ID + 1
_POLL_SECONDS = 0.05  # seconds that a pull waits for the first reply


class EmbeddedGrid(WaitingGrid):
    """Grid whose nodes are simulated hospitals of this machine.

    Parameters
    ----------
    pool : WorkerPool
        Runs the ClientApp.
    nodes : int
        Number of simulated hospitals; node k answers for partition k.
    run_config : dict
        Flat run configuration that every ClientApp sees.
    run_id : int
        Number of the run.
    stop : threading.Event, optional
        Once it is set, waiting for replies ends as by Ctrl-C, which reaches only the main thread.
    """

    def __init__(
        self,
        pool: WorkerPool,
        nodes: int,
        run_config: dict[str, Scalar],
        run_id: int = 1,
        stop: threading.Event | None = None,
    ) -> None:
        self._pool, self._stop = pool, stop
        self._run = compat.empty_run(run_id)
        self._contexts = {
            _FIRST_NODE + k: Context(
                run_id, _FIRST_NODE + k, {"partition-id": k, "num-partitions": nodes}, RecordDict(), run_config
            )
            for k in range(nodes)
        }
        self._replies: dict[str, Message] = {}
        compat.identify_process(run_id, compat.SERVER_NODE_ID)

    def set_run(self, run: compat.Run) -> None:
        """Set the run that messages belong to."""
        self._run = run

    @property
    def run(self) -> compat.Run:
        """The run that messages belong to."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message; Flower's own `Message` is the newer way."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes in the order of their partitions."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages for the workers, and return their identifiers in the same order."""
        identifiers = []
        for message in messages:
            identifiers.append(compat.assign_message_id(message))
            self._pool.submit(message, self._contexts[message.metadata.dst_node_id])
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that are ready, after waiting a moment for the first."""
        if self._stop is not None and self._stop.is_set():
            raise KeyboardInterrupt
        wanted = set(message_ids)
        if wanted.isdisjoint(self._replies):
            # a caller who pulls one reply at a time will want those that are stored here before waiting for more
            for reply in self._pool.collect(0.0 if self._replies else _POLL_SECONDS):
                compat.assign_message_id(reply)
                self._replies[reply.metadata.reply_to_message_id] = reply
        ready = [identifier for identifier in self._replies if identifier in wanted]
        return [self._replies.pop(identifier) for identifier in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push messages and yield each reply as it arrives, until none is missing or the time is over."""
        return self._receive(set(self.push_messages(messages)), timeout)

    def _receive(self, open_ids: set[str], timeout: float | None) -> Iterator[Message]:
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        while open_ids and time.monotonic() < end:
            for reply in self.pull_messages(open_ids):
                open_ids.discard(reply.metadata.reply_to_message_id)
                yield reply
