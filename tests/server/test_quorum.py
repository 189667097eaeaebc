"""Quorum and joining: absence has a reason, sites may join late, names are those of the keys, stale replies are refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict

from medfl import server_app
from medfl.errors import ConfigError, QuorumError, safe_sentence
from medfl.flower import compat
from medfl.flower.compat import NodeInfo
from medfl.messages import records
from medfl.runs import checkpoint_files
from medfl.runs.history import Event, read_history
from medfl.server import site_joiner
from medfl.study import read_run_config
from medfl.testing.sites import make_study
from tests.server.direct_grid import DirectGrid

NAMES = {2: "hospital-1", 3: "hospital-2", 4: "hospital-3"}


class Hospitals(DirectGrid):
    """Hospitals that come and go with the messages that are sent."""

    def __init__(self, config: dict[str, Any], away: Callable[[int], set[int]] = lambda sent: set()) -> None:
        super().__init__(config)
        self.sent, self._away = 0, away
        self.names = dict(NAMES)
        self.spoil: Callable[[Message, Message], None] = lambda question, reply: None

    def get_node_ids(self) -> Iterable[int]:
        return [node for node in super().get_node_ids() if node not in self._away(self.sent)]

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node, name=self.names[node]) for node in self.get_node_ids()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        self.sent += any(message.metadata.message_type == "train" for message in sent)
        identifiers = list(super().push_messages(sent))
        for question, identifier in zip(sent, identifiers, strict=True):
            self.spoil(question, self._replies[identifier])
        return identifiers


@pytest.fixture
def config(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> dict[str, Any]:
    places = {"simulation.data": str(nodule_hospitals), "simulation.store": str(tmp_path / "store")}
    return read_run_config(nodule_study) | places | {"server.out": str(tmp_path), "server.run": "run", "strategy.wait": 0.5}


def conduct(grid: Hospitals, config: dict[str, Any]) -> list[Event]:
    server_app.main(grid, Context(1, 1, {}, RecordDict(), config))
    return read_history(Path(config["server.out"]) / "nodule" / "run")


def rounds_of(events: list[Event]) -> list[dict[str, str]]:
    return [{s: entry["status"] for s, entry in e["sites"].items()} for e in events if e["event"] == "round"]


def test_a_strategy_that_is_not_there_is_refused_before_a_run_is_made_or_a_site_is_asked(config: dict[str, Any]) -> None:
    class Nobody(Hospitals):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            raise AssertionError("a site was asked")

    config |= {"strategy.name": "fedproxx"}
    with pytest.raises(ConfigError, match=r"strategy\.name.*'fedproxx'.*fedprox"):
        conduct(Nobody(config), config)
    assert not (Path(config["server.out"]) / "nodule" / "run").exists()


def test_a_site_that_is_away_for_a_round_is_named_with_the_reason_and_asked_again_in_the_next(config: dict[str, Any]) -> None:
    config |= {"rounds": 3, "strategy.quorum": 2}
    events = conduct(Hospitals(config, lambda sent: {3} if sent == 1 else set()), config)
    everyone = dict.fromkeys(NAMES.values(), "ok")
    assert rounds_of(events) == [everyone, everyone | {"hospital-2": "absent"}, everyone]
    second = [e for e in events if e["event"] == "round"][1]
    assert second["sites"]["hospital-2"]["reason"].startswith("[NOT-CONNECTED]")


def test_a_site_that_comes_late_is_taken_in(config: dict[str, Any]) -> None:
    config |= {"rounds": 3, "strategy.quorum": 2, "strategy.sites": 2, "simulation.data": config["simulation.data"]}
    events = conduct(Hospitals(config, lambda sent: {4} if sent < 2 else set()), config)
    assert sorted(rounds_of(events)[0]) == ["hospital-1", "hospital-2"]
    assert rounds_of(events)[2] == dict.fromkeys(NAMES.values(), "ok")
    joined = [e["site"] for e in events if e["event"] == "joined"]
    assert joined == ["hospital-1", "hospital-2", "hospital-3"]


def test_a_site_that_comes_late_trains_alone_from_then_on(config: dict[str, Any]) -> None:
    config |= {"rounds": 3, "strategy.quorum": 2, "strategy.sites": 2, "arms": "local,federated"}
    events = conduct(Hospitals(config, lambda sent: {4} if sent < 2 else set()), config)
    chosen = {e["model"]["site"]: e["model"]["round"] for e in events if e["event"] == "test" and e["arm"] == "local"}
    assert chosen == {"hospital-1": chosen["hospital-1"], "hospital-2": chosen["hospital-2"], "hospital-3": 3}


def test_a_run_that_is_resumed_without_a_site_keeps_what_that_site_had_learnt(config: dict[str, Any]) -> None:
    class Gone(BaseException):
        pass

    def dies(sent: int) -> set[int]:
        if sent == 2:
            raise Gone
        return set()

    config |= {"rounds": 3, "strategy.quorum": 2, "strategy.sites": 2, "arms": "local"}
    with pytest.raises(Gone):
        conduct(Hospitals(config, dies), config)
    events = conduct(Hospitals(config, lambda sent: {4}), config | {"server.resume": True})
    tested = [e["model"]["site"] for e in events if e["event"] == "test"]
    assert tested == ["hospital-1", "hospital-2", "hospital-3"]
    models = Path(config["server.out"]) / "nodule" / "run" / "checkpoints"
    assert checkpoint_files.load(models, "local-hospital-3-round-0003").meta["site"] == "hospital-3"


def test_a_site_that_comes_back_with_a_new_key_takes_its_old_place(config: dict[str, Any]) -> None:
    config |= {"rounds": 4, "strategy.quorum": 2, "strategy.sites": 2}
    config |= {"server.enrolled": "hospital-1,hospital-2", "server.run": "run"}
    grid = Hospitals(config, lambda sent: {4} if sent < 2 else {3})
    grid.names[4] = "hospital-2"
    grid.spoil = lambda question, reply: reply.content.config_records[records.SITE].update(
        {"name": NAMES[3]} if question.metadata.dst_node_id == 4 and question.metadata.message_type == records.JOIN else {}
    )
    statuses = rounds_of(conduct(grid, config))
    assert statuses[0] == statuses[-1] == {"hospital-1": "ok", "hospital-2": "ok"}


def test_a_second_node_of_one_name_is_left_out_when_the_run_has_begun(config: dict[str, Any]) -> None:
    config |= {"rounds": 3, "strategy.quorum": 2, "strategy.sites": 2}
    grid = Hospitals(config, lambda sent: {4} if sent < 1 else set())
    grid.spoil = lambda question, reply: reply.content.config_records[records.SITE].update(
        {"name": NAMES[3]} if question.metadata.dst_node_id == 4 and question.metadata.message_type == records.JOIN else {}
    )
    events = conduct(grid, config)
    assert rounds_of(events) == [{"hospital-1": "ok", "hospital-2": "ok"}] * 3
    (refused,) = [e for e in events if e["event"] == "failed"]
    assert refused["reason"].startswith("[SITE-TWICE]")


def test_a_site_that_was_refused_when_joining_is_asked_again(config: dict[str, Any]) -> None:
    config |= {"rounds": 3, "strategy.quorum": 2, "strategy.sites": 3}
    grid = Hospitals(config)
    joins: list[int] = []

    def refuse_once(question: Message, reply: Message) -> None:
        if question.metadata.dst_node_id == 4 and question.metadata.message_type == records.JOIN:
            joins.append(4)
            if len(joins) < 3:
                reply.content.config_records[records.SITE][records.MODEL_HASH] = "another"

    grid.spoil = refuse_once
    events = conduct(grid, config)
    assert ["hospital-3" in statuses for statuses in rounds_of(events)] == [False, True, True]
    assert len([e for e in events if e["event"] == "failed"]) == 1  # the same reason is recorded once


def test_a_site_whose_frozen_part_has_other_values_is_refused_by_that_reason(config: dict[str, Any]) -> None:
    config |= {"rounds": 1, "strategy.quorum": 2, "strategy.sites": 3}
    grid = Hospitals(config)

    def change_values(question: Message, reply: Message) -> None:
        if question.metadata.dst_node_id == 4 and question.metadata.message_type == records.JOIN:
            reply.content.config_records[records.SITE][records.MODEL_HASH] += ":0123"

    grid.spoil = change_values
    (refused,) = [e for e in conduct(grid, config) if e["event"] == "failed"]
    assert refused["reason"].startswith("[FROZEN-MISMATCH]")


def test_a_wait_for_sites_is_recorded_and_missing_sites_are_named_at_its_end(config: dict[str, Any]) -> None:
    config |= {"rounds": 2, "strategy.quorum": 3}
    with pytest.raises(QuorumError, match=r"TOO-FEW-SITES.*2 of the 3 sites.*Missing: hospital-2\."):
        conduct(Hospitals(config, lambda sent: {3} if sent else set()), config)
    events = read_history(Path(config["server.out"]) / "nodule" / "run")
    (waiting,) = [e for e in events if e["event"] == "waiting"]
    assert (waiting["during"], waiting["sites"], waiting["seconds"]) == ("connection", ["hospital-2"], 0.5)


def test_hospitals_alone_are_waited_for_as_together(config: dict[str, Any]) -> None:
    config |= {"rounds": 2, "strategy.quorum": 3, "arms": "local"}
    with pytest.raises(QuorumError, match="TOO-FEW-SITES"):
        conduct(Hospitals(config, lambda sent: {3} if sent else set()), config)


def test_too_few_sites_are_refused_with_the_names_of_those_who_are_missing(config: dict[str, Any]) -> None:
    config |= {"strategy.quorum": 3, "server.enrolled": "hospital-1,hospital-2,hospital-3"}
    with pytest.raises(QuorumError, match=r"TOO-FEW-SITES.*2 of 3 sites can.*Missing: hospital-3, \[NOT-CONNECTED\] "):
        conduct(Hospitals(config, lambda sent: {4}), config)
    events = read_history(Path(config["server.out"]) / "nodule" / "run")
    assert [(e["site"], e["reason"][:15]) for e in events if e["event"] == "absent"] == [("hospital-3", "[NOT-CONNECTED]")]
    assert [(e["during"], e["sites"]) for e in events if e["event"] == "waiting"] == [("join", ["hospital-3"])]
    assert events[-1]["status"] == "failed"


def test_a_round_with_too_few_patients_does_not_count(config: dict[str, Any]) -> None:
    patients = 24  # of three hospitals
    events = conduct(Hospitals(config), config | {"strategy.min-patients": patients, "server.run": "run"})
    assert len(rounds_of(events)) == 2
    config |= {"strategy.min-patients": patients + 1, "server.run": "other"}
    with pytest.raises(QuorumError, match=f"TOO-FEW-PATIENTS.* of {patients} patients, the study asks for {patients + 1}"):
        conduct(Hospitals(config), config)


def test_a_site_takes_part_under_the_name_of_its_key_alone(config: dict[str, Any]) -> None:
    config |= {"server.enrolled": "hospital-1,hospital-2,hospital-3", "strategy.quorum": 2}
    grid = Hospitals(config)
    grid.names[3] = "hospital-9"
    events = conduct(grid, config)
    assert [e["site"] for e in events if e["event"] == "joined"] == ["hospital-1", "hospital-3"]
    (refused,) = [e for e in events if e["event"] == "failed"]
    assert refused["reason"].startswith("[SITE-NAME-FOREIGN]")
    assert refused["site"] == "hospital-9"


@pytest.mark.parametrize(
    ("key", "other"), [(records.RUN, "earlier"), (records.ROUND, 7), (records.EXCHANGE, "0" * 16), (records.EXCHANGE, "")]
)
def test_a_reply_to_another_question_is_refused(key: str, other: str | int, config: dict[str, Any]) -> None:
    def replay(question: Message, reply: Message) -> None:
        if question.metadata.message_type == "train" and question.metadata.dst_node_id == 3 and reply.has_content():
            site = reply.content.config_records[records.SITE]
            if other:
                site[key] = other
            else:
                del site[key]

    config |= {"strategy.quorum": 2}
    grid = Hospitals(config)
    grid.spoil = replay
    statuses = rounds_of(conduct(grid, config))
    assert statuses == [{"hospital-1": "ok", "hospital-2": "refused", "hospital-3": "ok"}] * 2


def test_a_second_reply_to_one_question_is_dropped(config: dict[str, Any]) -> None:
    from medfl.messages.exchange import Exchange

    compat.identify_process(1, compat.SERVER_NODE_ID)
    question = Message(RecordDict({"config": ConfigRecord({})}), dst_node_id=2, message_type="train")
    compat.assign_message_id(question)
    compat.identify_process(1, 2)
    answer = RecordDict({"metrics": MetricRecord({"train.patients": 3})})
    replies = [Message(answer, reply_to=question), Message(answer, reply_to=question)]
    exchange = Exchange(1, [question], {2: "a"})
    assert [reply.site for reply in exchange.receive(replies, "train.patients")] == ["a"]
    assert [(r.site, r.status, r.reason[:13]) for r in exchange.record().replies] == [
        ("a", "ok", ""),
        ("a", "refused", "[REPLY-TWICE]"),
    ]


def test_a_federation_without_a_quorum_of_its_own_trains_on_no_subset(config: dict[str, Any]) -> None:
    config |= {"server.enrolled": "hospital-1,hospital-2,hospital-3", "rounds": 3}
    with pytest.raises(QuorumError, match=r"TOO-FEW-SITES.*Missing: hospital-3"):
        conduct(Hospitals(config, lambda sent: {4}), config)
    with pytest.raises(QuorumError, match=r"TOO-FEW-SITES.*2 of the 3 sites"):
        conduct(
            Hospitals(config | {"server.run": "later"}, lambda sent: {4} if sent > 1 else set()),
            config | {"server.run": "later"},
        )


ENROLLED = {"server.enrolled": "hospital-1,hospital-2,hospital-3", "strategy.quorum": 2}


def test_a_federation_of_more_sites_than_each_of_them_approved_does_not_begin(config: dict[str, Any]) -> None:
    config |= ENROLLED | {"arms": "local", "strategy.max-sites": 2}
    with pytest.raises(ConfigError, match=r"strategy.max-sites: 3 hospitals take part, and the study is approved for 2"):
        conduct(Hospitals(config), config)


def test_a_site_that_comes_late_is_left_out_where_it_would_be_one_too_many(config: dict[str, Any]) -> None:
    config |= ENROLLED | {"rounds": 3, "arms": "federated,local", "strategy.max-sites": 2, "strategy.sites": 2}
    grid = Hospitals(config, lambda sent: {4} if sent < 2 else set())
    asked: list[int] = []
    grid.spoil = lambda question, reply: asked.append(question.metadata.dst_node_id)
    events = conduct(grid, config)
    assert 4 not in asked  # its hospital would count a run that it has no part in
    (left_out,) = [e for e in events if e["event"] == "failed"]
    assert (left_out["site"], left_out["reason"][:16]) == ("hospital-3", "[TOO-MANY-SITES]")


class Declining(Hospitals):
    """Hospitals whose third one declines, and whose rounds take 40 seconds each."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.now, self.asked = 0.0, []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        before = self.sent
        identifiers = list(super().push_messages(sent))
        self.now += 40.0 * (self.sent - before)
        for message, identifier in zip(sent, identifiers, strict=True):
            if message.metadata.dst_node_id == 4:
                self.asked.append(self.now)
                error = Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_sentence("NOT-ANSWERED"))
                self._replies[identifier] = Message(error, reply_to=message)
        return identifiers


def test_a_site_that_declines_for_what_it_holds_is_asked_again_after_a_while(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config |= ENROLLED | {"rounds": 6}
    grid = Declining(config)
    monkeypatch.setattr(site_joiner, "time", SimpleNamespace(monotonic=lambda: grid.now, sleep=time.sleep))
    assert len(rounds_of(conduct(grid, config))) == 6
    assert grid.asked == [0.0, 80.0, 200.0]  # after one minute, and after two more


def test_an_operator_is_told_whom_to_ask_where_a_site_cannot_answer(config: dict[str, Any]) -> None:
    told = r"Missing: hospital-3, \[NOT-ANSWERED\] The site could not answer.* Ask the hospital: the reason is in its own log"
    config |= ENROLLED | {"strategy.quorum": 3}
    with pytest.raises(QuorumError, match=told):
        conduct(Declining(config), config)


def test_a_reason_is_said_once_for_all_hospitals_that_it_concerns(config: dict[str, Any]) -> None:
    config |= {"strategy.quorum": 3, "server.enrolled": "hospital-1,hospital-2,hospital-3"}
    with pytest.raises(QuorumError, match=r"Missing: hospital-2, hospital-3, \[NOT-CONNECTED\] ") as refused:
        conduct(Hospitals(config, lambda sent: {3, 4}), config)
    assert str(refused.value).count("NOT-CONNECTED") == 1


def test_a_number_of_sites_that_changes_nothing_for_any_of_them_is_not_limited(config: dict[str, Any]) -> None:
    config |= ENROLLED | {"strategy.max-sites": 2}
    assert len(rounds_of(conduct(Hospitals(config), config))[0]) == 3


@pytest.mark.parametrize(
    ("strategy", "enrolled", "expected"),
    [
        ({}, 3, 3),
        ({}, 0, 1),
        ({"sites": 2}, 3, 2),
        ({"sites": 2}, 0, 2),
        ({"quorum": 1}, 3, 1),
        ({"fraction": 0.5}, 5, 2),
        ({"fraction": 0.1}, 3, 1),
    ],
)
def test_a_round_needs_all_that_it_asks_unless_the_study_says_a_number(
    strategy: dict[str, Any], enrolled: int, expected: int
) -> None:
    assert make_study(strategy=strategy).quorum(enrolled) == expected
