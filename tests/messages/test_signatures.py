"""Signatures of messages and replies: a site takes what its federation's server signed for it, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.app import ConfigRecord

from medfl.deploy.ca import issue_site_certificate
from medfl.deploy.identity import public_key_text
from medfl.errors import PolicyError
from medfl.messages.signatures import (
    RunStatement,
    SignedMessage,
    is_signed_by,
    sign_reply,
    sign_statement,
    verify_message,
)
from tests.messages.signing import Authority

MESSAGE = SignedMessage(7, "train", 5, {"arrays": "a" * 64, "config": "b" * 64})
STUDY = "c" * 64


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


def verify(authority: Authority, record: object, message: SignedMessage = MESSAGE, study: str = STUDY, run: str = "r") -> str:
    """Return the code with which a site refuses a message, "" when it takes it."""
    try:
        verify_message(record, message, authority.ca, study, run)
    except PolicyError as error:
        return error.code
    return ""


def test_what_the_server_signed_is_taken(authority: Authority) -> None:
    assert verify(authority, authority.signer("r", STUDY).sign(MESSAGE)) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"flower_run": 8},
        {"kind": "evaluate"},
        {"node": 6},
        {"digests": {"arrays": "a" * 64}},
        {"digests": {"arrays": "b" * 64, "config": "a" * 64}},
        {"digests": {**MESSAGE.digests, "control": "d" * 64}},
    ],
    ids=str,
)
def test_a_signature_holds_for_one_run_kind_node_and_content(authority: Authority, change: dict[str, Any]) -> None:
    """So what the server signed for one hospital, or for another round, is worth nothing elsewhere."""
    record = authority.signer("r", STUDY).sign(MESSAGE)
    assert verify(authority, record, dataclasses.replace(MESSAGE, **change)) == "MESSAGE-FORGED"


def test_a_key_holds_for_one_study_and_run(authority: Authority) -> None:
    record = authority.signer("r", STUDY).sign(MESSAGE)
    assert verify(authority, record, study="d" * 64) == "MESSAGE-FORGED"
    assert verify(authority, record, run="other") == "MESSAGE-FORGED"


def test_a_key_expires(authority: Authority) -> None:
    assert verify(authority, authority.signer("r", STUDY, days=-0.01).sign(MESSAGE)) == "RUN-KEY-EXPIRED"


def test_an_unsigned_message_is_refused(authority: Authority) -> None:
    assert verify(authority, None) == "MESSAGE-UNSIGNED"


def of_another_authority(authority: Authority, folder: Path) -> ConfigRecord:
    return Authority.make(folder / "other").signer("r", STUDY).sign(MESSAGE)


def of_a_hospital(authority: Authority, folder: Path) -> ConfigRecord:
    """Sign as an enrolled hospital would: its certificate, too, is from the authority."""
    key, home = authority.site_key("insider"), authority.folder
    certificate = issue_site_certificate(home / "ca.crt", home / "ca.key", "insider", public_key_text(key), 10)
    honest = authority.signer("r", STUDY)
    forged = dataclasses.replace(
        honest,
        statement_signature=sign_statement(honest.statement, key),
        certificate=certificate.public_bytes(Encoding.PEM),
    )
    return forged.sign(MESSAGE)


def with_a_key_of_its_own(authority: Authority, folder: Path) -> ConfigRecord:
    """Take the statement of an honest run, and sign with another key."""
    honest, other = authority.signer("r", STUDY), authority.signer("r", STUDY)
    return dataclasses.replace(honest, key=other.key).sign(MESSAGE)


def with_a_longer_life(authority: Authority, folder: Path) -> ConfigRecord:
    honest = authority.signer("r", STUDY)
    later = dataclasses.replace(honest.statement, expires=honest.statement.expires.replace(year=2099))
    return dataclasses.replace(honest, statement=later).sign(MESSAGE)


@pytest.mark.parametrize("forge", [of_another_authority, of_a_hospital, with_a_key_of_its_own, with_a_longer_life])
def test_who_is_not_the_server_cannot_sign(
    authority: Authority, tmp_path: Path, forge: Callable[[Authority, Path], ConfigRecord]
) -> None:
    assert verify(authority, forge(authority, tmp_path)) == "MESSAGE-FORGED"


@pytest.mark.parametrize("key", ["signature", "statement", "statement-signature", "certificate"])
@pytest.mark.parametrize("value", ["missing", b"", b"x" * 5000, "", "x" * 5000, 7, "[" * 1500, '{"format": 1}', "null"])
def test_any_rubbish_is_refused(authority: Authority, key: str, value: Any) -> None:
    record = authority.signer("r", STUDY).sign(MESSAGE)
    if value == "missing":
        del record[key]
    else:
        record[key] = value
    assert verify(authority, record) == "MESSAGE-FORGED"


def test_a_statement_has_one_spelling(authority: Authority) -> None:
    statement = authority.signer("r", STUDY).statement
    assert RunStatement.parse(statement.text()) == statement
    with pytest.raises(ValueError, match="another spelling"):
        RunStatement.parse(json.dumps(json.loads(statement.text())))


def test_a_reply_is_its_sites_answer_to_this_message(authority: Authority) -> None:
    key, other = authority.site_key("north"), authority.site_key("south")
    reply = dataclasses.replace(MESSAGE, digests={"metrics": "e" * 64})
    record = sign_reply(reply, MESSAGE.digest(), key)
    assert is_signed_by(record, reply, MESSAGE.digest(), key.public_key())
    assert not is_signed_by(record, reply, MESSAGE.digest(), other.public_key())
    assert not is_signed_by(record, reply, dataclasses.replace(MESSAGE, kind="evaluate").digest(), key.public_key())
    assert not is_signed_by(
        record, dataclasses.replace(reply, digests={"metrics": "f" * 64}), MESSAGE.digest(), key.public_key()
    )
    for wrong in (None, ConfigRecord({}), ConfigRecord({"signature": b""}), ConfigRecord({"signature": b"\xff" * 96})):
        assert not is_signed_by(wrong, reply, MESSAGE.digest(), key.public_key())


def test_all_signatures_of_replies_have_one_size(authority: Authority) -> None:
    """Or the size of an encrypted answer would tell something of it."""
    key = authority.site_key("north")
    replies = [dataclasses.replace(MESSAGE, digests={"metrics": str(n)}) for n in range(300)]
    assert {len(sign_reply(reply, MESSAGE.digest(), key)["signature"]) for reply in replies} == {96}  # type: ignore[arg-type]
