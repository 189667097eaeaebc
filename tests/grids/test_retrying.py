"""Lost sites: asked again where the quorum needs their answer, and left out where it does not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from medfl.flower import compat
from medfl.grids import retrying
from medfl.grids.retrying import RetryingGrid
from medfl.grids.streaming import StreamingGrid

LOST = Error(compat.ErrorCode.NODE_UNAVAILABLE, "gone")
RAISED = Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "[DATA-READ] The details are in the log of the site.")


class Nodes(Grid):
    """Nodes that answer each message with the next thing that is written for them."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {int(name[1:]): list(outcomes) for name, outcomes in answers.items()}
        self.connected = set(self.answers)
        self.pushed: list[int] = []
        self._replies: dict[str, Message] = {}
        compat.identify_process(1, compat.SERVER_NODE_ID)

    def set_run(self, run: compat.Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> compat.Run:
        raise NotImplementedError

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return sorted(self.connected)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        identifier, node = compat.assign_message_id(message), message.metadata.dst_node_id
        self.pushed.append(node)
        outcome = self.answers[node].pop(0)
        error = {"lost": LOST, "raised": RAISED}.get(outcome)
        compat.identify_process(1, node)
        if outcome != "silent":
            reply = Message(error, reply_to=message) if error else Message(RecordDict(), reply_to=message)
            self._replies[identifier] = reply
        compat.identify_process(1, compat.SERVER_NODE_ID)
        return identifier

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(identifier) for identifier in message_ids if identifier in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_POLL_INTERVAL", 0.0)


def exchange(nodes: Nodes, quorum: int, timeout: float = 10.0) -> dict[int, str]:
    """Ask every node, and return by node what it said; the node of a reply is found as medfl finds it."""
    from medfl.messages.exchange import find_asked_node

    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes.answers]
    grid = StreamingGrid(RetryingGrid(nodes, quorum))
    found = {}
    for reply in grid.send_and_receive(messages, timeout=timeout):
        node = find_asked_node(reply, messages)
        assert node is not None
        found[node] = str(reply.error.code) if reply.has_error() else "ok"
    return found


def test_a_lost_site_that_the_quorum_needs_is_asked_again() -> None:
    nodes = Nodes(n2=["ok"], n3=["lost", "lost", "ok"], n4=["ok"])
    assert exchange(nodes, quorum=3) == {2: "ok", 3: "ok", 4: "ok"}
    assert nodes.pushed == [2, 3, 4, 3, 3]


def test_one_that_the_quorum_can_do_without_is_left_out_at_once() -> None:
    nodes = Nodes(n2=["ok"], n3=["lost"], n4=["ok"])
    assert exchange(nodes, quorum=2) == {2: "ok", 3: "5", 4: "ok"}
    assert nodes.pushed == [2, 3, 4]


def test_of_two_lost_sites_the_one_too_many_is_asked_again() -> None:
    nodes = Nodes(n2=["ok"], n3=["lost", "ok"], n4=["lost", "ok"])
    found = exchange(nodes, quorum=2)
    assert sorted(found.values()) == ["5", "ok", "ok"]
    assert len(nodes.pushed) == 4


def test_a_site_that_is_not_back_at_the_deadline_is_reported_as_lost() -> None:
    nodes = Nodes(n2=["ok"], n3=["lost", "ok"])
    nodes.connected = {2}
    assert exchange(nodes, quorum=2, timeout=0.3) == {2: "ok", 3: "5"}
    assert nodes.pushed == [2, 3]


def test_one_that_is_back_but_not_done_at_the_deadline_is_late() -> None:
    nodes = Nodes(n2=["ok"], n3=["lost", "silent"])
    assert exchange(nodes, quorum=2, timeout=0.3) == {2: "ok"}
    assert nodes.pushed == [2, 3, 3]


def test_a_wait_for_sites_is_reported() -> None:
    nodes = Nodes(n2=["ok"], n3=["lost"], n4=["lost", "ok"])
    lost: list[int] = []
    grid = RetryingGrid(nodes, 2, on_node_lost=lost.append)
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes.answers]
    assert len(list(StreamingGrid(grid).send_and_receive(messages, timeout=0.3))) == 3
    assert lost == [4]


def test_where_another_site_failed_by_itself_a_lost_one_is_needed() -> None:
    nodes = Nodes(n2=["raised"], n3=["lost", "ok"], n4=["ok"])
    assert exchange(nodes, quorum=2) == {2: "2", 3: "ok", 4: "ok"}


def test_an_error_of_the_site_itself_is_an_answer() -> None:
    nodes = Nodes(n2=["ok"], n3=["raised"])
    assert exchange(nodes, quorum=2) == {2: "ok", 3: "2"}
    assert nodes.pushed == [2, 3]
