"""Nodes that go away without an answer: each is reported once, as Flower 1.42 does it by itself and Flower 1.43 does not."""

from __future__ import annotations

import time

import pytest
from flwr.app import Message, RecordDict

from medfl.flower import compat
from medfl.grids import lost_nodes, retrying
from medfl.grids.lost_nodes import LostNodesGrid
from medfl.grids.retrying import RetryingGrid
from medfl.grids.streaming import StreamingGrid
from medfl.messages.exchange import find_asked_node
from tests.grids.test_retrying import Nodes


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((lost_nodes, "_CHECK_INTERVAL"), (retrying, "_POLL_INTERVAL")):
        monkeypatch.setattr(module, name, 0.0)


def ask(nodes: Nodes) -> tuple[LostNodesGrid, dict[int, str], list[Message]]:
    grid = LostNodesGrid(nodes)
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes.answers]
    identifiers = dict(zip(nodes.answers, grid.push_messages(messages), strict=True))
    return grid, identifiers, messages


def test_a_node_that_goes_away_is_reported_once_and_one_that_is_there_is_awaited() -> None:
    nodes = Nodes(n2=["silent"], n3=["silent"])
    grid, identifiers, messages = ask(nodes)
    assert list(grid.pull_messages(identifiers.values())) == []
    nodes.connected = {2}
    (reply,) = grid.pull_messages(identifiers.values())
    assert reply.error.code == compat.ErrorCode.NODE_UNAVAILABLE
    assert (find_asked_node(reply, messages), reply.metadata.src_node_id) == (3, compat.SERVER_NODE_ID)
    assert list(grid.pull_messages(identifiers.values())) == []


def test_what_a_node_answered_before_it_went_away_counts() -> None:
    nodes = Nodes(n2=["ok"])
    grid, identifiers, _ = ask(nodes)
    nodes.connected = set()
    (reply,) = grid.pull_messages(identifiers.values())
    assert reply.has_content()
    assert list(grid.pull_messages(identifiers.values())) == []


def test_the_error_that_flower_makes_is_handed_on_and_no_second_one_is_made() -> None:
    nodes = Nodes(n2=["lost"])
    grid, identifiers, _ = ask(nodes)
    nodes.connected = set()
    (reply,) = grid.pull_messages(identifiers.values())
    assert reply.error.reason == "gone"
    assert list(grid.pull_messages(identifiers.values())) == []


def test_a_node_that_connected_since_the_last_check_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(n2=["silent"], n3=["silent", "ok"])
    nodes.connected = {2}
    grid, identifiers, _ = ask(nodes)
    assert len(list(grid.pull_messages([identifiers[3]]))) == 1
    monkeypatch.setattr(lost_nodes, "_CHECK_INTERVAL", 60.0)
    nodes.connected = {2, 3}
    (again,) = grid.push_messages([Message(RecordDict(), dst_node_id=3, message_type="train")])
    (reply,) = grid.pull_messages([again])
    assert reply.has_content()


def test_a_node_that_came_back_since_the_last_check_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(n2=["silent"], n3=["silent"], n4=["silent"])
    grid, identifiers, _ = ask(nodes)
    nodes.connected = {4}
    assert list(grid.pull_messages([identifiers[4]])) == []  # where the others are found to be gone
    monkeypatch.setattr(lost_nodes, "_CHECK_INTERVAL", 60.0)
    nodes.connected = {2, 4}
    assert list(grid.pull_messages([identifiers[2]])) == []
    (reply,) = grid.pull_messages([identifiers[3]])
    assert reply.has_error()


def test_a_message_that_is_asked_for_twice_is_answered_once() -> None:
    nodes = Nodes(n2=["silent"])
    grid, identifiers, _ = ask(nodes)
    nodes.connected = set()
    assert len(list(grid.pull_messages([identifiers[2]] * 2))) == 1


def test_the_error_lives_as_long_as_the_message_whenever_it_is_made() -> None:
    nodes = Nodes(n2=["silent"])
    grid = LostNodesGrid(nodes)
    message = Message(RecordDict(), dst_node_id=2, message_type="train", ttl=90.0)
    identifiers = grid.push_messages([message])
    message.metadata.created_at -= 3600.0
    nodes.connected = set()
    (reply,) = grid.pull_messages(identifiers)
    assert reply.metadata.ttl == pytest.approx(90.0, abs=5.0)


def test_a_message_that_nobody_waits_for_is_kept_only_as_long_as_it_lives() -> None:
    nodes = Nodes(n2=["silent"] * 20)
    grid, pushed = LostNodesGrid(nodes), []
    for _ in range(20):
        pushed.append(Message(RecordDict(), dst_node_id=2, message_type="train"))
        grid.push_messages(pushed[-1:])
        pushed[-1].metadata.created_at -= pushed[-1].metadata.ttl
    assert len(grid._pending) == 1


def test_a_site_that_the_quorum_needs_is_asked_again_when_it_is_back() -> None:
    nodes = Nodes(n2=["ok"], n3=["silent", "ok"])
    nodes.connected = {2}
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes.answers]

    def come_back(node: int) -> None:
        nodes.connected.add(node)

    grid = StreamingGrid(RetryingGrid(LostNodesGrid(nodes), 2, on_node_lost=come_back))
    replies = list(grid.send_and_receive(messages, timeout=10.0))
    assert sorted((find_asked_node(reply, messages), reply.has_content()) for reply in replies) == [(2, True), (3, True)]
    assert nodes.pushed == [2, 3, 3]


def test_nothing_is_said_of_a_message_that_is_too_old_to_be_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(n2=["silent"], n3=["silent", "silent"])
    grid, identifiers, _ = ask(nodes)
    nodes.connected = {3}
    assert list(grid.pull_messages([identifiers[3]])) == []  # where the other is found to be gone
    monkeypatch.setattr(lost_nodes, "_CHECK_INTERVAL", 60.0)
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    grid.push_messages([Message(RecordDict(), dst_node_id=3, message_type="train")])
    assert list(grid.pull_messages([identifiers[2]])) == []
