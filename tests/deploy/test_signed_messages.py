"""A site takes messages of its federation's server alone, whoever hands them to its SuperNode, and signs what it answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from medfl.clients import node
from medfl.deploy import site_worker
from medfl.deploy.approvals import approve
from medfl.deploy.bundle import read_bundle_study
from medfl.deploy.identity import make_key
from medfl.deploy.site_worker import SiteWorker
from medfl.flower import compat
from medfl.flower.tasks import CLIENT_TASK, TaskInput
from medfl.messages import records
from medfl.messages.message_proof import read_proof
from medfl.messages.signatures import SIGNATURE, RunSigner, SignedMessage, digest_content, is_signed_by
from medfl.site import Site, init_site, read_site
from tests.deploy.fake_node import NODE, RUN, FakeServer, job
from tests.messages.signing import Authority, signed

INSIDER = 9  # node of another hospital


class Handler:
    """What answers a message, if it gets so far."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.contexts: list[Context] = []

    def __call__(self, message: Message, context: Context, *_: object) -> Message:
        self.messages.append(message)
        self.contexts.append(context)
        return Message(records.build_reply_content("hospital-a", {}, site_info={"patients": "12"}), reply_to=message)


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Handler:
    handler = Handler()
    monkeypatch.setattr(node, "join", handler)
    monkeypatch.setattr(site_worker, "ServerLink", FakeServer)
    return handler


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "authority")


@pytest.fixture
def site(tmp_path: Path, authority: Authority, nodule_study: Path) -> Site:
    file = init_site(tmp_path / "site", "hospital-a", ".")
    file.write_text(file.read_text() + '\n[federation]\nserver = "fl.example.org:443"\n')
    (tmp_path / "site" / "ca.crt").write_bytes(authority.ca)
    make_key(tmp_path / "site" / "site.key")
    site = read_site(file)
    approve(site, read_bundle_study(nodule_study))
    (site.folder / "audit.jsonl").unlink()  # of the approval: the tests begin with what comes
    return site


@pytest.fixture
def signer(authority: Authority, nodule_study: Path) -> RunSigner:
    return authority.signer("run-1", read_bundle_study(nodule_study).approved_hash())


def answer(site: Site, asked: TaskInput) -> Message:
    return SiteWorker(site, site.folder / "site.toml").answer(CLIENT_TASK, asked)


def refusal(site: Site, asked: TaskInput) -> str:
    """Return the code with which a message was refused, which is in the site's log as well."""
    code = answer(site, asked).error.reason.partition("]")[0].lstrip("[")
    came = json.loads((site.folder / "audit.jsonl").read_text().splitlines()[-2])
    assert (came["event"], came["decision"]) == ("came", code)
    return code


def test_the_servers_message_is_answered_and_the_answer_signed(site: Site, signer: RunSigner, handler: Handler) -> None:
    asked = job()
    signed(asked.message, signer)
    covered = SignedMessage(RUN, records.JOIN, NODE, digest_content(asked.message.content))
    reply = answer(site, asked)
    assert SIGNATURE not in handler.messages[0].content  # no answer can depend on it
    record = reply.content.pop(SIGNATURE)
    from medfl.deploy.identity import load_key

    key = load_key(site.folder / "site.key").public_key()
    answered = SignedMessage(RUN, records.JOIN, NODE, digest_content(reply.content))
    assert is_signed_by(record, answered, covered.digest(), key)
    came, left = map(json.loads, (site.folder / "audit.jsonl").read_text().splitlines())
    assert len(came["signature"]) == 128
    assert len(left["signature"]) == 192


def test_who_answers_gets_the_proof_of_the_message_and_no_state_of_the_supernode(
    site: Site, signer: RunSigner, handler: Handler, authority: Authority
) -> None:
    asked = job()
    signed(asked.message, signer)
    answer(site, asked)
    (context,) = handler.contexts
    assert len(context.state) == 1
    proof = read_proof(context.state)
    assert proof is not None
    assert proof.statement() == signer.statement
    assert (proof.message.node, proof.authority, proof.settings()[records.RUN]) == (NODE, authority.ca, "run-1")


def test_an_unsigned_message_is_refused(site: Site, handler: Handler) -> None:
    assert refusal(site, job()) == "MESSAGE-UNSIGNED"
    assert handler.messages == []


def test_a_message_of_another_hospital_is_refused(site: Site, signer: RunSigner, handler: Handler) -> None:
    """Flower hands it over: it compares the key with the request's node, not with the sender that the message names."""
    asked = job()
    compat.identify_process(RUN, INSIDER)
    content = asked.message.content
    forged = Message(content, dst_node_id=NODE, message_type=records.JOIN)
    compat.assign_message_id(forged)
    signed(forged, signer)  # even one that the server once signed for this node
    assert refusal(site, TaskInput(forged, asked.context, RUN, asked.bundle, {})) == "MESSAGE-FORGED"
    assert handler.messages == []


def test_a_message_for_another_hospital_is_refused(site: Site, signer: RunSigner, handler: Handler) -> None:
    asked = job()
    signed(asked.message, signer)
    other = Message(asked.message.content, dst_node_id=INSIDER, message_type=records.JOIN)
    compat.assign_message_id(other)
    assert refusal(site, TaskInput(other, asked.context, RUN, asked.bundle, {})) == "MESSAGE-FORGED"


def test_a_message_changed_on_the_way_is_refused(site: Site, signer: RunSigner, handler: Handler) -> None:
    asked = job()
    signed(asked.message, signer)
    asked.message.content["more"] = ArrayRecord({})
    assert refusal(site, asked) == "MESSAGE-FORGED"
    assert handler.messages == []


def test_a_message_of_another_run_or_study_is_refused(site: Site, authority: Authority, handler: Handler) -> None:
    asked = job()
    signed(asked.message, authority.signer("run-1", "0" * 64))
    assert refusal(site, asked) == "MESSAGE-FORGED"
    assert handler.messages == []


def test_more_records_than_any_study_needs_are_refused_unread(site: Site, signer: RunSigner, handler: Handler) -> None:
    asked = job()
    asked.message.content = RecordDict({f"record-{n}": ConfigRecord({}) for n in range(5000)})
    assert refusal(site, signed_job(asked, signer)) == "MESSAGE-SIZE"
    assert handler.messages == []


def signed_job(asked: TaskInput, signer: RunSigner) -> TaskInput:
    signed(asked.message, signer)
    return asked
