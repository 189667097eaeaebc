"""Signatures that logs hold prove what was sent: another hash above a signature is found, even in an unbroken chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medfl.audit.chain import Chain
from medfl.audit.verify import verify_logs
from medfl.deploy.identity import public_key_text
from medfl.messages.signatures import SignedMessage, sign_reply, signature_hex
from tests.messages.signing import Authority

MESSAGE = SignedMessage(7, "train", 5, {"arrays": "a" * 64, "config": "b" * 64})
REPLY = dataclasses.replace(MESSAGE, digests={"metrics": "e" * 64})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


def line(event: str, message: SignedMessage, **about: Any) -> dict[str, Any]:
    records = [{"name": name, "sha256": digest} for name, digest in message.digests.items()]
    fields = {"type": message.kind, "flower-run": message.flower_run, "node": message.node, "records": records}
    return {"event": event, "run": "r", **fields, **about}


def sent(authority: Authority, **about: Any) -> dict[str, Any]:
    signer = authority.signer("r", "c" * 64)
    return line("sent", MESSAGE, **{"signature": signature_hex(signer.sign(MESSAGE)), "run-key": signer.statement.key}, **about)


def received(authority: Authority, **about: Any) -> dict[str, Any]:
    key = authority.site_key("north")
    signature = signature_hex(sign_reply(REPLY, MESSAGE.digest(), key))
    proof = {"signature": signature, "answers": MESSAGE.digest(), "site-key": public_key_text(key)}
    return line("received", REPLY, site="north", **(proof | about))


def breaks(folder: Path, *lines: dict[str, Any]) -> list[str]:
    """Return what is found in a log of these lines, whose chain of hashes is whole."""
    chain = Chain(folder / "audit.jsonl", "server:r")
    for each in lines:
        chain.append(each)
    return [found.what for found in verify_logs([chain.path]).breaks]


def test_what_was_signed_is_as_it_is_logged(authority: Authority, tmp_path: Path) -> None:
    assert breaks(tmp_path, sent(authority), received(authority)) == []


@pytest.mark.parametrize(
    "change",
    [{"node": 6}, {"flower-run": 8}, {"type": "evaluate"}, {"records": []}, {"signature": "00" * 64}, {"run-key": "ab"}],
)
def test_a_message_that_was_not_signed_so_is_found(authority: Authority, tmp_path: Path, change: dict[str, Any]) -> None:
    (found,) = breaks(tmp_path, sent(authority) | change)
    assert "is not one of the run's key over what is logged" in found


@pytest.mark.parametrize(
    "change",
    [{"records": [{"name": "metrics", "sha256": "f" * 64}]}, {"answers": "0" * 64}, {"signature": ""}, {"site-key": "x"}],
)
def test_an_answer_that_its_site_did_not_sign_so_is_found(authority: Authority, tmp_path: Path, change: dict[str, Any]) -> None:
    (found,) = breaks(tmp_path, received(authority) | change)
    assert "is not one of its site over what is logged" in found


@pytest.mark.parametrize("make", [sent, received])
def test_what_was_refused_is_no_break_once_more(
    authority: Authority, tmp_path: Path, make: Callable[..., dict[str, Any]]
) -> None:
    assert breaks(tmp_path, make(authority) | {"decision": "REPLY-FORGED", "signature": "00" * 64}) == []


@pytest.mark.parametrize("records", [[{"name": "?", "sha256": "a" * 64}], [{"more": 5}], None, "x"])
def test_a_line_that_does_not_hold_all_that_was_signed_is_left(authority: Authority, tmp_path: Path, records: object) -> None:
    assert breaks(tmp_path, sent(authority) | {"records": records}) == []
