"""A round of made-up replies for whole strategies, Flower's or medfl's, and the memory that it takes (Linux)."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterable, Iterator
from functools import cache
from logging import ERROR, getLogger
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from medfl.flower import compat
from medfl.messages.records import to_array
from medfl.strategies.fedavg import FedAvg

_MOST = 64  # replies that differ


class Crowd:
    """As much of a Grid as asking takes: nodes 1 to `count`, which are there."""

    def __init__(self, count: int) -> None:
        self._nodes = range(1, count + 1)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes."""
        return self._nodes


def sizes_of(values: int) -> list[int]:
    """Share values out among tensors as a network has them: a few large, one odd-sized, one small."""
    sizes = [values // 2, values // 4, values // 8 + 1, 100]
    return [*sizes, values - sum(sizes)]


@cache
def _pool(values: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(values, dtype=np.float32) * np.float32(0.05)


def make_record(values: int, seed: int) -> ArrayRecord:
    """Make a model as it comes out of a message, with no other memory than its own (after the first, which fills a pool)."""
    pool, start, record = _pool(values + 1000 * _MOST), 1000 * seed, ArrayRecord()
    for i, size in enumerate(sizes_of(values)):
        record[f"tensor{i}"] = to_array(pool[start : start + size])
        start += size
    return record


def make_reply(message: Message, values: int) -> Message:
    """Answer with a model that depends on the node alone."""
    node = message.metadata.dst_node_id
    metrics = MetricRecord({"num-examples": 3 + node})
    return Message(RecordDict({"arrays": make_record(values, node), "metrics": metrics}), reply_to=message)


def ask(strategy: FedAvg, count: int, initial: ArrayRecord) -> list[Message]:
    """Let a strategy of medfl ask `count` nodes, and return what it sends them."""
    compat.identify_process(1, compat.SERVER_NODE_ID)
    getLogger("flwr").setLevel(ERROR)
    messages = list(strategy.configure_train(1, initial, ConfigRecord({}), Crowd(count)))
    for message in messages:
        compat.assign_message_id(message)
    return messages


def copies(replies: list[Message], messages: list[Message]) -> Iterator[Message]:
    """Yield replies again with the same bytes; Flower's strategies empty those that they are given."""
    for reply, message in zip(replies, messages, strict=True):
        content = {
            name: ArrayRecord(dict(record)) if isinstance(record, ArrayRecord) else record
            for name, record in reply.content.items()
        }
        yield Message(RecordDict(content), reply_to=message)


def start_peak() -> int:
    """Begin to watch for the highest memory of this process, and return what it has now, in bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would hide what is taken now
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Return the highest memory since `start_peak`, mapped pages included, in bytes."""
    return _status("VmHWM")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024
