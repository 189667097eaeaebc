"""A first model that sites get whole as they join: with every question, to those that come later too, and not for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Error, Message

from medfl.errors import safe_sentence
from medfl.flower import compat
from medfl.flower.compat import NodeInfo
from medfl.grids.grid_wrapper import WaitingGrid
from medfl.messages import records
from medfl.runs.run_folder import Run
from medfl.server import site_joiner
from medfl.server.site_joiner import SiteJoiner
from medfl.study import app_from_run_config
from tests.server.counted_sites import CONFIG, NAMES

LAYOUT = "0" * 32
FIRST = records.to_array_record({"conv.weight": np.ones((2, 3), np.float32)})


class Nodes(WaitingGrid):
    """Nodes that answer with their names, but those in `refusing`."""

    def __init__(self) -> None:
        self.nodes, self.refusing, self.code = [2, 3], set[int](), "START-OTHER"
        self.asked: list[Message] = []
        compat.identify_process(1, compat.SERVER_NODE_ID)

    def set_run(self, run: compat.Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> compat.Run:
        return compat.empty_run(1)

    def create_message(self, *_: object, **__: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=node, name=NAMES[node]) for node in self.nodes]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        self.asked += sent
        return [compat.assign_message_id(message) for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        asked = {message.metadata.message_id: message for message in self.asked}
        return [self._answer(asked[identifier]) for identifier in message_ids]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if node in self.refusing:
            reason = safe_sentence(self.code)
            return Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
        numbers: dict[str, Any] = {f"join.{s}-{w}": 2 for s in ("train", "validation", "test") for w in ("patients", "cases")}
        values = {"excluded": "", "warnings": "", "patient-ids": "yes", records.MODEL_HASH: LAYOUT}
        return Message(records.build_reply_content(NAMES[node], numbers, site_info=values), reply_to=message)


@pytest.fixture
def join(tmp_path: Path) -> Callable[..., tuple[SiteJoiner, Nodes, Run]]:
    def make(start: Any, config: dict[str, Any] = CONFIG) -> tuple[SiteJoiner, Nodes, Run]:
        run = Run.create(tmp_path, app_from_run_config(dict(config)))
        nodes = Nodes()
        return SiteJoiner(nodes, run, LAYOUT, start), nodes, run

    return make


def test_the_first_model_goes_to_each_site_once_also_to_one_that_comes_later(join: Any) -> None:
    joiner, nodes, run = join(FIRST)
    sites: dict[int, str] = {}
    joiner.query(nodes.get_node_ids())
    joiner.poll(sites)
    nodes.nodes.append(4)
    joiner.admit(sites)
    joiner.admit(sites)
    assert sites == NAMES
    assert [message.metadata.dst_node_id for message in nodes.asked] == [2, 3, 4]
    assert all(message.content.array_records[records.START] is FIRST for message in nodes.asked)
    assert len({id(message.content) for message in nodes.asked[:2]}) == 1  # packed, and held, once
    told = [event["bytes-down"] for event in run.history.read() if event["event"] == "joined"]
    assert told == [FIRST.count_bytes()] * 3


@pytest.mark.parametrize(
    ("start", "code", "enrolled", "times"),
    [
        (FIRST, "START-OTHER", True, [0, 61, 122, 183]),
        (FIRST, "SITE-TOO-SMALL", True, [0, 61, 183]),
        (FIRST, "START-OTHER", False, [0, 61, 122, 183]),
        (FIRST, "SITE-TOO-SMALL", False, [0, 61, 122, 183]),
        (None, "SITE-TOO-SMALL", True, [0, 61, 183]),
        (None, "START-OTHER", True, [0, 30, 61, 122, 183]),
        (None, "SITE-TOO-SMALL", False, [0, 30, 61, 122, 183]),
    ],
)
def test_a_site_that_cannot_join_rests_where_a_model_goes_with_the_question_or_it_looks_at_its_data(
    join: Any, monkeypatch: pytest.MonkeyPatch, start: Any, code: str, enrolled: bool, times: list[int]
) -> None:
    kept = {key: value for key, value in CONFIG.items() if enrolled or key != "server.enrolled"}
    joiner, nodes, _ = join(start, kept)
    nodes.refusing, nodes.code = {3}, code
    clock, asked = [0.0], []
    monkeypatch.setattr(site_joiner, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    for seconds in (0, 30, 61, 122, 183):
        clock.append(float(seconds))
        before = len(nodes.asked)
        joiner.admit({})
        asked += [seconds for message in nodes.asked[before:] if message.metadata.dst_node_id == 3]
    assert asked == times


def test_a_site_whose_answer_does_not_fit_is_not_sent_the_model_again_at_once(
    join: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    joiner, nodes, _ = join(FIRST)
    monkeypatch.setitem(NAMES, 3, "no name!")
    joiner.admit({})
    joiner.admit({})
    assert sum(message.metadata.dst_node_id == 3 for message in nodes.asked) == 1


def test_where_no_model_comes_first_the_question_holds_none(join: Any) -> None:
    joiner, nodes, run = join(None)
    joiner.admit({})
    assert not any(message.content.array_records for message in nodes.asked)
    assert "bytes-down" not in run.history.read()[-1]
