"""Work of the embedded engine's own process with many nodes: it grows with their number, and not with its square."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict

from medfl.flower import compat
from medfl.grids.streaming import StreamingGrid
from medfl.simulation.embedded_grid import EmbeddedGrid
from medfl.simulation.worker_pool import WorkerPool

NODES = 500


class CountingPool:
    """A pool that answers one message at each call, the last one first, and counts the calls."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []
        self.calls = 0

    def submit(self, message: Message, context: Context) -> None:
        self.waiting.append(message)

    def collect(self, timeout: float) -> Iterator[Message]:
        self.calls += 1
        if self.waiting:
            message = self.waiting.pop()
            compat.identify_process(1, message.metadata.dst_node_id)
            yield Message(RecordDict({"echo": ConfigRecord({})}), reply_to=message)
            compat.identify_process(1, compat.SERVER_NODE_ID)


def messages_to(grid: EmbeddedGrid) -> list[Message]:
    return [Message(RecordDict(), dst_node_id=node, message_type="train") for node in grid.get_node_ids()]


def test_the_pool_is_asked_once_for_each_reply() -> None:
    pool: Any = CountingPool()
    grid = EmbeddedGrid(pool, NODES, {})
    replies = StreamingGrid(grid).send_and_receive(messages_to(grid), timeout=60)
    assert {reply.metadata.src_node_id for reply in replies} == set(grid.get_node_ids())
    assert pool.calls == NODES


def test_messages_are_put_in_order_once_for_all_that_are_queued_together() -> None:
    class Durations(dict[int, float]):
        looks = 0

        def get(self, key: int, default: Any = None) -> Any:
            Durations.looks += 1
            return super().get(key, default)

    pool = WorkerPool(0, "no:app")
    pool._durations = Durations({2: 1.0, 3: 5.0})
    grid = EmbeddedGrid(pool, NODES, {})
    grid.push_messages(messages_to(grid))
    assert list(pool.collect(0)) == []
    assert [context.node_id for _, context in pool._waiting[:3]] == [3, 2, 4]  # the slowest first
    assert Durations.looks == NODES
