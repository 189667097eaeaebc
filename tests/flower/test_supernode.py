"""A site's SuperNode: whatever happens while it receives a message, it sends the answers to the messages after it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.common.constant import SubStatus
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import start_client_internal
from flwr.supernode.nodestate import NodeStateFactory, nodestate_factory

from medfl.errors import safe_sentence
from medfl.flower import compat, incoming_sizes
from medfl.flower.lasting_connection import LastingHeartbeat
from medfl.flower.supernode import AnsweringNodeState, receive_or_give_up

NODE = 5


class LoopEndedError(Exception):
    """Ends the loop of the SuperNode, which has no end."""


class FakeSite:
    """The loop of a SuperNode, the server that it talks to, and the worker, which gets its turn whenever the loop sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nodestate_factory, "InMemoryNodeState", AnsweringNodeState)
        monkeypatch.setattr(start_client_internal, "_pull_and_store_message", receive_or_give_up)
        monkeypatch.setattr(start_client_internal, "_init_connection", self.connection)
        monkeypatch.setattr(start_client_internal, "register_signal_handlers", lambda **_: None)
        monkeypatch.setattr(start_client_internal, "time", self)
        self.factory = NodeStateFactory(ObjectStoreFactory())
        self.state = self.factory.state()
        self.sent: list[Message] = []
        self.seconds: list[float] = []
        self.inbox: list[Message] = []
        self.turns = 0
        self.work: Callable[[], None] = self.answer
        self.while_confirming: Callable[[Message], None] = lambda message: None
        self.while_pulling: Callable[[str], None] = lambda identifier: None

    def ask(self, run: int, content: RecordDict | None = None) -> Message:
        """Let the server send a message of a run."""
        self.state.store_run(compat.empty_run(run))
        compat.identify_process(run, compat.SERVER_NODE_ID)
        message = Message(content or RecordDict(), dst_node_id=NODE, message_type="query.join")
        message.metadata.__dict__["_message_id"] = message.object_id
        self.inbox.append(message)
        return message

    def run(self) -> list[str]:
        """Run the loop until nothing happens any more; return which messages were answered."""
        with pytest.raises(LoopEndedError):
            start_client_internal.start_client_internal(
                state_factory=self.factory, server_address="127.0.0.1:1", node_config={}, isolation="process"
            )
        return [reply.metadata.reply_to_message_id for reply in self.sent]

    def take(self) -> tuple[str, Message] | None:
        """Take the oldest task and its message, as the worker does."""
        for task in self.state.get_tasks():
            if (token := self.state.claim_task(task.task_id)) is not None and self.state.activate_task(task.task_id):
                (message,) = self.state.get_messages_legacy(run_ids=[task.run_id], is_reply=False, limit=1)
                self.state.record_message_processing_start(message.metadata.message_id)
                return token, message
        return None

    def answer(self) -> None:
        """Be the worker: take a message, and answer it."""
        if (taken := self.take()) is not None:
            self.push(*taken)

    def push(self, token: str, message: Message) -> bool:
        """Answer a message, and return whether the SuperNode accepts that."""
        task = self.state.get_task_by_token(token)
        if task is None:
            return False
        compat.identify_process(message.metadata.run_id, NODE)
        reply = Message(RecordDict(), reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        self.state.record_message_processing_end(message.metadata.message_id)
        self.state.store_message(reply)
        with no_object_id_recompute():
            self.state.object_store.preregister(task.run_id, get_object_tree(reply))
        for identifier, part in get_all_nested_objects(reply).items():
            self.state.object_store.put(identifier, part.deflate())
        return self.state.finish_task(task.task_id, SubStatus.COMPLETED, "")

    def time(self) -> float:
        """Be the clock."""
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Let the worker have a turn instead of the time."""
        self.turns += 1
        if self.turns > 20:
            raise LoopEndedError
        self.work()

    @contextmanager
    def connection(self, **_: Any) -> Iterator[tuple[object, ...]]:
        """Be the connection to the server."""
        parts: dict[str, bytes] = {}

        def receive() -> tuple[Message, object] | None:
            if not self.inbox:
                return None
            message = self.inbox.pop(0)
            parts.update({identifier: part.deflate() for identifier, part in get_all_nested_objects(message).items()})
            with no_object_id_recompute():
                return message, get_object_tree(message)

        def send(reply: Message, tree: object, seconds: float) -> tuple[set[str], str]:
            self.sent.append(reply)
            self.seconds.append(seconds)
            return set(), ""

        def pull(run: int, identifier: str) -> bytes:
            self.while_pulling(identifier)
            return parts[identifier]

        def confirm(run: int, identifier: str) -> None:
            self.while_confirming(identifier)

        yield NODE, receive, send, None, None, pull, lambda *_: None, confirm


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    return FakeSite(monkeypatch)


def test_each_message_is_answered(site: FakeSite) -> None:
    asked = [site.ask(run).metadata.message_id for run in (1, 1, 2)]
    assert site.run() == asked


def test_the_answer_to_a_run_that_ended_while_it_was_asked_is_not_sent_instead_of_the_next(site: FakeSite) -> None:
    """As when the server went down, the worker had the message already, and the run was resumed before this site was back."""
    first, second = (site.ask(run).metadata.message_id for run in (1, 2))

    def confirm(identifier: str) -> None:
        if identifier == first:
            site.answer()
            raise RunNotRunningException

    site.while_confirming = confirm
    assert site.run() == [second]


def test_a_worker_that_waits_for_a_message_of_an_ended_run_is_told_so(site: FakeSite) -> None:
    first, second = (site.ask(run).metadata.message_id for run in (1, 2))
    taken: list[tuple[str, Message] | None] = []

    def pull(identifier: str) -> None:
        if identifier == first:
            taken.append(site.take())
            raise RunNotRunningException

    site.while_pulling = pull
    assert site.run() == [second]
    assert taken[0] is not None
    assert not site.push(*taken[0])
    assert site.state.object_store.get(first) is None


def test_a_message_that_the_worker_could_not_read_is_answered_with_an_error(site: FakeSite) -> None:
    first, second = (site.ask(1).metadata.message_id for _ in range(2))

    def fail_first() -> None:
        site.work = site.answer
        if (taken := site.take()) is not None and (task := site.state.get_task_by_token(taken[0])) is not None:
            site.state.finish_task(task.task_id, SubStatus.FAILED, "")

    site.work = fail_first
    assert site.run() == [first, second]
    assert site.sent[0].error.reason == safe_sentence("NOT-ANSWERED")
    assert not site.sent[1].has_error()


def test_a_task_is_handed_out_with_its_message(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower creates the task first, and a worker that found no message would report that the task failed."""
    asked = site.ask(1).metadata.message_id
    store = site.state.object_store
    preregister = store.preregister

    def with_a_quick_worker(run: int, tree: Any) -> list[str]:
        site.answer()
        return preregister(run, tree)

    monkeypatch.setattr(store, "preregister", with_a_quick_worker)
    assert site.run() == [asked]


def large_content() -> RecordDict:
    return RecordDict({"model": ArrayRecord([np.zeros(300_000, np.uint8)])})


def test_a_message_with_too_many_bytes_is_refused_and_nothing_of_it_is_kept(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower takes all of a message before the worker can refuse it: it would fill the memory of a hospital."""
    monkeypatch.setattr(start_client_internal, "_pull_and_store_message", partial(receive_or_give_up, limit=200_000))
    large = site.ask(1, large_content())
    seen: list[Message | None] = []
    site.work = lambda: seen.extend(taken[1] for taken in [site.take()] if taken is not None)
    assert site.run() == [large.metadata.message_id]
    (reply,) = site.sent
    assert reply.error.reason == safe_sentence("MESSAGE-SIZE")
    assert (reply.metadata.created_at, reply.metadata.ttl) == (large.metadata.created_at, large.metadata.ttl)
    assert seen == []
    assert {site.state.object_store.get(part) for part in get_all_nested_objects(large)} == {None}


def test_a_message_of_too_many_objects_is_refused_before_one_is_pulled(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_sizes, "_MOST_OBJECTS", 3)
    pulled: list[str] = []
    site.while_pulling = pulled.append
    large, small = site.ask(1, large_content()), site.ask(1)
    assert site.run() == [large.metadata.message_id, small.metadata.message_id]
    assert site.sent[0].error.reason == safe_sentence("MESSAGE-SIZE")
    assert not site.sent[1].has_error()
    assert set(pulled) == set(get_all_nested_objects(small))


def test_messages_are_counted_one_by_one(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_client_internal, "_pull_and_store_message", partial(receive_or_give_up, limit=400_000))
    for run in (1, 2, 3):
        site.ask(run, large_content())
    site.run()
    assert [reply.has_error() for reply in site.sent] == [False] * 3


@pytest.mark.parametrize("status", [400, 404, 413, 500, 503])
def test_a_heartbeat_that_fails_at_the_server_is_sent_again(status: int) -> None:
    """Whatever the server or its proxy answers: a hospital without a heartbeat would count as gone until it is started anew."""
    answers = [httpx.Response(status, request=httpx.Request("POST", "https://server")), httpx.Response(200)]

    def send() -> bool:
        answer = answers.pop(0)
        if answer.is_error:
            answer.raise_for_status()
        return True

    heartbeat = LastingHeartbeat(send)
    assert not heartbeat.heartbeat_fn()
    assert heartbeat.heartbeat_fn()


def test_an_answer_of_the_supernode_itself_tells_one_code_and_no_time(site: FakeSite) -> None:
    """A worker that dies while it works on an image would otherwise be told apart from one that reports an error."""
    asked = site.ask(1)

    def die() -> None:
        site.work = site.answer
        if (taken := site.take()) is not None and (task := site.state.get_task_by_token(taken[0])) is not None:
            site.state._on_task_tokens_expired([task])

    site.work = die
    assert site.run() == [asked.metadata.message_id]
    (reply,) = site.sent
    assert reply.error.reason == safe_sentence("NOT-ANSWERED")
    assert (reply.metadata.created_at, reply.metadata.ttl) == (asked.metadata.created_at, asked.metadata.ttl)


def test_the_time_of_work_is_told_in_whole_seconds(site: FakeSite) -> None:
    site.ask(1)
    site.run()
    assert site.seconds == [1.0]  # some microseconds, rounded up


def test_the_process_ends_with_its_loop() -> None:
    """Flower's own web server, which a worker talks to, would keep it alive: the site would be away, and nobody would know."""
    code = (
        "import threading, time; from medfl.flower import supernode;"
        "supernode.flower_supernode = lambda: threading.Thread(target=time.sleep, args=(600,)).start();"
        "supernode.run_supernode(None, None)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert done.returncode == 1


def test_an_error_that_ends_the_loop_is_its_last_word() -> None:
    code = (
        "from medfl.flower import supernode\n"
        "def fail(): raise ValueError('something new')\n"
        "supernode.flower_supernode = fail\n"
        "supernode.run_supernode(None, None)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("ValueError: something new")
