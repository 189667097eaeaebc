"""Verification of the signatures that logs hold: each accepted message was signed as it stands in the log.

So neither side can deny later what it sent: a line that holds a signature and other hashes was made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.app import ConfigRecord

from medfl.audit.breaks import ChainBreak
from medfl.messages.signatures import SignedMessage, is_signed_by, is_signed_with

_ACCEPTED = "accepted"


def find_false_signatures(path: Path, lines: Iterable[Mapping[str, Any]]) -> Iterator[ChainBreak]:
    """Yield the lines of a log whose signature does not fit what they say; lines without one are no matter of this."""
    for line in lines:
        message = _signed_message(line)
        if message is None or line.get("decision", _ACCEPTED) != _ACCEPTED:
            continue
        number = line["n"] if isinstance(line.get("n"), int) else 0
        if line.get("event") in ("sent", "came") and line.get("run-key"):
            if not is_signed_with(str(line["run-key"]), str(line.get("signature", "")), message):
                yield ChainBreak(
                    str(path), number, "the signature of the message is not one of the run's key over what is logged."
                )
        elif line.get("event") == "received" and "site-key" in line and not _is_signed_by_site(line, message):
            yield ChainBreak(str(path), number, "the signature of the answer is not one of its site over what is logged.")


def _signed_message(line: Mapping[str, Any]) -> SignedMessage | None:
    """Return what the signature of a line covers; None when there is none, or not all that it covers is logged."""
    records = line.get("records")
    if "signature" not in line or not isinstance(records, list):
        return None
    if any(not isinstance(r, dict) or r.get("name", "?") == "?" or not isinstance(r.get("sha256"), str) for r in records):
        return None
    flower_run, node, kind = line.get("flower-run"), line.get("node"), line.get("type")
    if not isinstance(flower_run, int) or not isinstance(node, int) or not isinstance(kind, str):
        return None
    return SignedMessage(flower_run, kind, node, {r["name"]: r["sha256"] for r in records})


def _is_signed_by_site(line: Mapping[str, Any], reply: SignedMessage) -> bool:
    try:
        key = load_ssh_public_key(str(line["site-key"]).encode())
        record = ConfigRecord({"signature": bytes.fromhex(str(line["signature"]))})
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(key, ec.EllipticCurvePublicKey) and is_signed_by(record, reply, str(line.get("answers", "")), key)
