"""The proof of a message that is kept verifies as the message did, and as nothing else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from medfl.messages import records
from medfl.messages.message_proof import MessageProof, proof_state, read_proof
from medfl.messages.signatures import SIGNATURE, SignedMessage, digest_content
from tests.messages.signing import Authority

STUDY = "c" * 64


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path)


@pytest.fixture
def proof(authority: Authority) -> MessageProof:
    config = ConfigRecord({records.RUN: "run-1", records.ROUND: 3, records.SPLIT: "test"})
    content = RecordDict({records.ARRAYS: ArrayRecord(), records.CONFIG: config})
    message = SignedMessage(2**64 - 1, "evaluate", 2**64 - 2, digest_content(content))
    content[SIGNATURE] = authority.signer("run-1", STUDY, days=-1).sign(message)
    found = read_proof(proof_state(message, content, authority.ca))
    assert found is not None
    return found


def test_a_proof_that_was_written_down_says_what_the_server_stated(proof: MessageProof) -> None:
    again = MessageProof.from_json(json.loads(json.dumps(proof.to_json())))
    assert again == proof
    statement = again.statement()
    assert statement is not None  # also after its key has expired
    assert (statement.run, statement.study) == ("run-1", STUDY)
    assert again.settings() == {records.RUN: "run-1", records.ROUND: 3, records.SPLIT: "test"}


def test_another_configuration_message_or_authority_proves_nothing(proof: MessageProof, tmp_path: Path) -> None:
    changed = (
        dataclasses.replace(proof, config=proof.config.replace('"test"', '"validation"')),
        dataclasses.replace(proof, message=dataclasses.replace(proof.message, node=5)),
        dataclasses.replace(proof, authority=Authority.make(tmp_path / "other").ca),
        dataclasses.replace(proof, authority=b"no certificate"),
    )
    assert [each.statement() for each in changed] == [None] * 4


def test_a_message_that_nobody_signed_has_no_proof(authority: Authority) -> None:
    state = proof_state(SignedMessage(7, "evaluate", 5, {}), RecordDict({records.CONFIG: ConfigRecord()}), authority.ca)
    assert read_proof(state) is None


@pytest.mark.parametrize("change", [{"message": None}, {"signature": {}}, {"config": None, "message": 3}, {"signature": None}])
def test_what_is_no_proof_is_refused(proof: MessageProof, change: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whichever value is wrong
        MessageProof.from_json(proof.to_json() | change)
