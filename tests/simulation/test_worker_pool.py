"""The embedded engine when clients fail, crash or are late."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from medfl.errors import safe_sentence
from medfl.messages.replies import describe_error
from medfl.simulation.embedded_grid import EmbeddedGrid
from medfl.simulation.worker_pool import WorkerPool

APP = """
import os, signal, time
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()

@app.train()
def train(message, context):
    order = message.content["config"]
    if order["do"] == "be killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if order["do"] == "crash":
        os._exit(9)
    if order["do"] == "raise":
        raise ValueError("DOE^JANE in /data/secret")
    if order["do"] == "sleep":
        time.sleep(order["seconds"])
    seen = context.state.setdefault("seen", ConfigRecord({"n": 0}))
    seen["n"] += 1
    echo = {"partition": context.node_config["partition-id"], "n": seen["n"], "pid": os.getpid()}
    echo["rounds"] = context.run_config["rounds"]
    return Message(RecordDict({"echo": ConfigRecord(echo)}), reply_to=message)
"""


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedGrid]:
    (tmp_path / "echo_client.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    with WorkerPool(2, "echo_client:app") as pool:
        yield EmbeddedGrid(pool, 3, {"rounds": 4})
    assert multiprocessing.active_children() == []


def send(grid: EmbeddedGrid, orders: dict[int, dict[str, object]], timeout: float | None = 60) -> dict[int, Message]:
    nodes = list(grid.get_node_ids())
    messages = [
        Message(RecordDict({"config": ConfigRecord(dict(order))}), dst_node_id=nodes[k], message_type="train")
        for k, order in orders.items()
    ]
    replies = grid.send_and_receive(messages, timeout=timeout)
    return {nodes.index(reply.metadata.src_node_id): reply for reply in replies}


def test_every_node_answers_for_its_partition_and_keeps_its_state(grid: EmbeddedGrid) -> None:
    for n in (1, 2):
        replies = send(grid, {k: {"do": "echo"} for k in range(3)})
        echoes = {k: reply.content["echo"] for k, reply in replies.items()}
        assert {k: echo["partition"] for k, echo in echoes.items()} == {0: 0, 1: 1, 2: 2}
        assert {echo["n"] for echo in echoes.values()} == {n}
        assert {echo["rounds"] for echo in echoes.values()} == {4}
        assert len({echo["pid"] for echo in echoes.values()}) == 2


def test_an_exception_becomes_an_error_reply_without_its_text(grid: EmbeddedGrid) -> None:
    replies = send(grid, {0: {"do": "raise"}, 1: {"do": "echo"}})
    assert replies[0].has_error()
    assert "DOE" not in str(replies[0].error.reason)
    assert replies[1].has_content()


def test_a_crashed_worker_is_a_failed_reply_and_the_next_message_works(grid: EmbeddedGrid) -> None:
    replies = send(grid, {0: {"do": "crash"}, 1: {"do": "echo"}, 2: {"do": "echo"}})
    assert replies[0].error.reason.startswith("[SITE-CRASHED]")
    assert replies[1].has_content()
    assert send(grid, {0: {"do": "echo"}})[0].has_content()


def test_a_worker_that_the_system_kills_is_said_to_have_been_killed(grid: EmbeddedGrid) -> None:
    replies = send(grid, {0: {"do": "be killed"}, 1: {"do": "echo"}})
    assert describe_error(replies[0].error) == safe_sentence("SITE-KILLED")
    assert replies[1].has_content()


def test_a_late_reply_is_missing_and_does_not_answer_a_later_question(grid: EmbeddedGrid) -> None:
    assert send(grid, {0: {"do": "sleep", "seconds": 1.5}}, timeout=0.2) == {}
    replies = send(grid, {0: {"do": "echo"}, 1: {"do": "echo"}})
    assert {k: reply.content["echo"]["n"] for k, reply in replies.items()} == {0: 2, 1: 1}


def test_replies_arrive_as_they_are_ready(grid: EmbeddedGrid) -> None:
    nodes = list(grid.get_node_ids())
    orders = [{"do": "sleep", "seconds": 1.0}, {"do": "echo"}]
    messages = [
        Message(RecordDict({"config": ConfigRecord(dict(o))}), dst_node_id=nodes[k], message_type="train")
        for k, o in enumerate(orders)
    ]
    first = next(iter(grid.send_and_receive(messages, timeout=30)))
    assert first.metadata.src_node_id == nodes[1]


def test_closing_does_not_wait_for_a_busy_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo_client.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    pool = WorkerPool(1, "echo_client:app")
    grid = EmbeddedGrid(pool, 1, {"rounds": 1})
    assert send(grid, {0: {"do": "sleep", "seconds": 300}}, timeout=0.2) == {}
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 60
    assert multiprocessing.active_children() == []
