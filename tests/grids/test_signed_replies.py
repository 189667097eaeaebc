"""The server counts what its sites signed as the answer to its own message, and logs what it leaves out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from medfl.audit.chain import Chain, read_chain
from medfl.flower import compat
from medfl.grids.auditing import AuditingGrid
from medfl.grids.grid_wrapper import GridWrapper
from medfl.messages import records
from medfl.messages.embedded_signature import embed_signature, extract_signature
from medfl.messages.signatures import SIGNATURE, RunSigner, SignedMessage, digest_content, sign_reply, verify_message
from tests.messages.signing import Authority

RUN, STUDY = 7, "c" * 64
NAMES = {3: "north", 4: "south"}
Answer = Callable[[Message, RecordDict], None]


class Sites(GridWrapper):
    """Two sites that answer at once, each as it likes."""

    def __init__(self, authority: Authority) -> None:
        self.authority, self.sent, self.replies = authority, list[Message](), dict[str, Message]()
        self.answers: dict[int, Answer] = {3: self.sign, 4: self.sign}

    def get_nodes(self) -> list[compat.NodeInfo]:
        return [compat.NodeInfo(node_id=node, name=name) for node, name in NAMES.items()]

    def push_messages(self, messages: list[Message]) -> list[str]:  # type: ignore[override]
        identifiers = []
        for message in messages:
            identifier = compat.assign_message_id(message)
            node = message.metadata.dst_node_id
            self.sent.append(Message(message.content, dst_node_id=node, message_type="train"))
            came = RecordDict(
                {name: ConfigRecord({**r}) if isinstance(r, ConfigRecord) else r for name, r in message.content.items()}
            )
            extract_signature(came, records.CONFIG)
            content = RecordDict({"metrics": MetricRecord({"train.patients": 4}), "site": ConfigRecord({"name": NAMES[node]})})
            self.answers[node](Message(came, dst_node_id=node, message_type="train"), content)
            embed_signature(content, records.SITE)
            compat.identify_process(RUN, node)
            self.replies[identifier] = Message(content, reply_to=message)
            compat.identify_process(RUN, compat.SERVER_NODE_ID)
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: list[str]) -> list[Message]:  # type: ignore[override]
        return [self.replies.pop(identifier) for identifier in message_ids if identifier in self.replies]

    def sign(self, message: Message, content: RecordDict, name: str = "") -> None:
        """Sign as the site that was asked, or as another."""
        about = message.metadata
        asked = SignedMessage(RUN, about.message_type, about.dst_node_id, digest_content(message.content))
        reply = dataclasses.replace(asked, digests=digest_content(content))
        content[SIGNATURE] = sign_reply(reply, asked.digest(), self.authority.site_key(name or NAMES[about.dst_node_id]))


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(Authority.make(tmp_path / "authority"))


@pytest.fixture
def signer(sites: Sites) -> RunSigner:
    return sites.authority.signer("r", STUDY, ("north", "south"))


@pytest.fixture
def grid(sites: Sites, signer: RunSigner, tmp_path: Path) -> AuditingGrid:
    return AuditingGrid(sites, Chain(tmp_path / "audit.jsonl", "server:r"), signer)


def ask(grid: AuditingGrid) -> dict[str, Message]:
    """Send one model to both sites; return their replies by name."""
    compat.identify_process(RUN, compat.SERVER_NODE_ID)
    model = records.to_array_record({"w": np.zeros(4, np.float32)})
    content = RecordDict({"arrays": model, "config": ConfigRecord({records.RUN: "r", records.ROUND: 1})})
    messages = [Message(content, dst_node_id=node, message_type="train") for node in NAMES]
    identifiers = list(grid.push_messages(messages))
    assert all(message.content is content for message in messages)  # what the caller sent is as it was
    assert SIGNATURE not in content
    return dict(zip(NAMES.values(), (grid.pull_messages([identifier])[0] for identifier in identifiers), strict=True))  # type: ignore[index]


def test_each_message_is_signed_for_its_own_site_and_shares_the_model(
    grid: AuditingGrid, sites: Sites, signer: RunSigner
) -> None:
    ask(grid)
    one, other = (message.content for message in sites.sent)
    assert one["arrays"] is other["arrays"]
    assert SIGNATURE not in one  # one object more for Flower to carry
    for content in (one, other):
        extract_signature(content, records.CONFIG)
    assert one[SIGNATURE]["signature"] != other[SIGNATURE]["signature"]  # type: ignore[index]
    for message in sites.sent:
        covered = SignedMessage(RUN, "train", message.metadata.dst_node_id, digest_content(message.content))
        verify_message(message.content[SIGNATURE], covered, sites.authority.ca, STUDY, "r")


def fail(messages: list[Message]) -> list[str]:
    raise ConnectionError


def test_a_message_that_could_not_be_sent_is_signed_anew_when_it_is_sent_again(
    grid: AuditingGrid, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    compat.identify_process(RUN, compat.SERVER_NODE_ID)
    content = RecordDict({"config": ConfigRecord({records.RUN: "r", records.ROUND: 1})})
    message = Message(content, dst_node_id=3, message_type="train")
    with monkeypatch.context() as patch:
        patch.setattr(sites, "push_messages", fail)
        with pytest.raises(ConnectionError):
            grid.push_messages([message])
    assert message.content is content
    grid.push_messages([message])
    came = sites.sent[0].content
    extract_signature(came, records.CONFIG)
    covered = SignedMessage(RUN, "train", 3, digest_content(came))
    verify_message(came[SIGNATURE], covered, sites.authority.ca, STUDY, "r")


def test_signed_replies_are_handed_on_without_their_signature(grid: AuditingGrid) -> None:
    replies = ask(grid)
    assert all(reply.has_content() and SIGNATURE not in reply.content for reply in replies.values())
    events = read_chain(grid._chain.path)
    assert [event["event"] for event in events] == ["sent", "sent", "received", "received"]
    assert [len(event["signature"]) for event in events] == [128, 128, 192, 192]


def unsigned(sites: Sites) -> Answer:
    return lambda message, content: None


def signed_by_another(sites: Sites) -> Answer:
    return lambda message, content: sites.sign(message, content, "north")


def signed_by_a_stranger(sites: Sites) -> Answer:
    return lambda message, content: sites.sign(message, content, "stranger")


def changed_afterwards(sites: Sites) -> Answer:
    def answer(message: Message, content: RecordDict) -> None:
        sites.sign(message, content)
        content["metrics"] = MetricRecord({"train.patients": 4_000_000})

    return answer


def of_another_question(sites: Sites) -> Answer:
    def answer(message: Message, content: RecordDict) -> None:
        earlier = RecordDict({**dict(message.content.items()), "config": ConfigRecord({records.ROUND: 0})})
        sites.sign(Message(earlier, dst_node_id=4, message_type="train"), content)

    return answer


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (unsigned, "REPLY-UNSIGNED"),
        (signed_by_another, "REPLY-FORGED"),
        (signed_by_a_stranger, "REPLY-FORGED"),
        (changed_afterwards, "REPLY-FORGED"),
        (of_another_question, "REPLY-FORGED"),
    ],
)
def test_what_a_site_did_not_sign_as_its_answer_is_left_out(
    grid: AuditingGrid, sites: Sites, answer: Callable[[Sites], Answer], code: str
) -> None:
    sites.answers[4] = answer(sites)
    replies = ask(grid)
    assert replies["north"].has_content()
    assert replies["south"].has_error()
    assert replies["south"].error.reason.startswith(f"[{code}]")
    assert read_chain(grid._chain.path)[-1]["decision"] == code


def test_a_reply_that_nothing_asked_for_is_not_taken(grid: AuditingGrid, sites: Sites) -> None:
    ask(grid)
    asked = Message(RecordDict(), dst_node_id=3, message_type="train")
    identifier = compat.assign_message_id(asked)
    compat.identify_process(RUN, 3)
    sites.replies[identifier] = Message(RecordDict({"metrics": MetricRecord({"train.patients": 4})}), reply_to=asked)
    compat.identify_process(RUN, compat.SERVER_NODE_ID)
    assert grid.pull_messages([identifier]) == []
    last = read_chain(grid._chain.path)[-1]
    assert (last["event"], last["decision"], last["site"]) == ("received", "REPLY-UNASKED", "north")


def test_a_message_that_cannot_be_logged_is_not_sent(grid: AuditingGrid, sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Chain, "append", full)
    with pytest.raises(OSError, match="no space"):
        ask(grid)
    assert sites.sent == []
