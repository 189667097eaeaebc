"""Proof that a message came from the server of a federation, kept for good: it can be verified once the message is gone.

A site checks the signature of each message when it comes. With a model that it keeps, it keeps what it checked: what was
signed, the signature, the configuration of the message, and the certificate of the authority that it trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from medfl.messages.digests import values_json
from medfl.messages.records import CONFIG
from medfl.messages.signatures import SIGNATURE, RunStatement, SignedMessage, signed_statement

_PROOF = "proof"  # record in the state of a context
_BINARY, _TEXT = ("signature", "statement-signature", "certificate"), "statement"  # what a record ``signature`` holds


@dataclass(frozen=True)
class MessageProof:
    """What shows that a server sent a message to a site.

    Parameters
    ----------
    message : SignedMessage
        What was signed.
    signature : ConfigRecord
        Record ``signature`` of the message.
    config : str
        Record ``config`` of the message, as it is digested.
    authority : bytes
        Certificate of the authority that the site trusted, PEM.
    """

    message: SignedMessage
    signature: ConfigRecord
    config: str
    authority: bytes

    def statement(self) -> RunStatement | None:
        """Return what the server stated of the run, None unless a server of the authority signed this message."""
        if hashlib.sha256(self.config.encode()).hexdigest() != self.message.digests.get(CONFIG):
            return None
        return signed_statement(self.signature, self.message, self.authority)

    def settings(self) -> dict[str, Any]:
        """Return the values of the configuration of the message."""
        values = json.loads(self.config)
        return values if isinstance(values, dict) else {}

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON values."""
        about = self.message
        signed = {"flower-run": about.flower_run, "kind": about.kind, "node": about.node, "records": dict(about.digests)}
        signature = {key: value.hex() if isinstance(value, bytes) else value for key, value in self.signature.items()}
        return {"message": signed, "signature": signature, "config": self.config, "authority": self.authority.decode()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> MessageProof:
        """Return the proof that `to_json` wrote.

        Raises
        ------
        ValueError
            When it is none; nothing is verified yet.
        """
        try:
            signed, signature = values["message"], values["signature"]
            message = SignedMessage(
                int(signed["flower-run"]), str(signed["kind"]), int(signed["node"]), dict(signed["records"])
            )
            record = ConfigRecord({key: bytes.fromhex(signature[key]) for key in _BINARY})
            record[_TEXT] = str(signature[_TEXT])
            return MessageProof(message, record, str(values["config"]), str(values["authority"]).encode())
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not a proof") from error


def proof_state(message: SignedMessage, content: RecordDict, authority: bytes) -> RecordDict:
    """Return the proof of a message that was verified, as the state of the context in which it is answered.

    Parameters
    ----------
    message : SignedMessage
        What was signed.
    content : RecordDict
        The message, with its signature.
    authority : bytes
        As in `MessageProof`.
    """
    signature = content.get(SIGNATURE)
    if not isinstance(signature, ConfigRecord):
        return RecordDict()
    proof = MessageProof(message, signature, values_json(content.get(CONFIG)).decode(), authority)
    return RecordDict({_PROOF: ConfigRecord({_PROOF: json.dumps(proof.to_json())})})


def read_proof(state: RecordDict) -> MessageProof | None:
    """Return the proof that `proof_state` put into the state of a context, None where there is none."""
    record = state.get(_PROOF)
    return MessageProof.from_json(json.loads(str(record[_PROOF]))) if isinstance(record, ConfigRecord) else None
