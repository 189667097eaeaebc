"""Signatures of messages: a site takes what the server of its federation signed, and the server what the site signed.

Flower checks that each request to the server is signed with an enrolled key, but not that a message comes from whom it names: a
hospital can send one to another as if it were the server.

For each run the server makes a key (Ed25519). A statement names the run, the hash of its study, the key, and when it expires.
It is signed with the key of the server's certificate (ECDSA, P-384), which is issued by the authority whose certificate came
with the startup kit. All of that travels in the record ``signature`` of each message. What is signed are the digests of all
other records, with the run, the kind of message and the node it is for. A reply is signed with the site's own key (ECDSA,
P-384), over the message that it answers and the digests of its records.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from flwr.app import ConfigRecord, RecordDict

from medfl.errors import PolicyError
from medfl.messages.digests import digest_record

SIGNATURE = "signature"  # record, both ways

_STATEMENT, _MESSAGE, _REPLY = b"medfl run key 1\n", b"medfl message 1\n", b"medfl reply 1\n"
_HASH = ec.ECDSA(hashes.SHA384())
_P384_BYTES = 48
_KEY_BYTES = 32  # of a run's public key
_MAX_STATEMENT = 2000  # characters
_NOT_SIGNED = (InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound, ValueError, KeyError, TypeError, RecursionError)
_OLDER = (
    "If the server sent it, its medfl is older than this one: both sides need the same. If not, medfl audit verify finds it."
)


@dataclass(frozen=True)
class SignedMessage:
    """What a signature of a message covers.

    Parameters
    ----------
    flower_run : int
        Flower's number of the run.
    kind : str
        Type of the message.
    node : int
        Node of the site: the receiver of a message, the sender of a reply.
    digests : mapping of str to str
        SHA-256 of each record, by its name; of all but the signature.
    """

    flower_run: int
    kind: str
    node: int
    digests: Mapping[str, str]

    def digest(self) -> str:
        """Return the SHA-256 of what is signed: what a reply names as its question."""
        return hashlib.sha256(self.text()).hexdigest()

    def text(self, answers: str = "") -> bytes:
        """Return what is signed, in its one spelling; `answers` is the digest of the message that a reply answers."""
        fields = {"flower-run": self.flower_run, "kind": self.kind, "node": self.node, "records": dict(self.digests)}
        named = fields | ({"answers": answers} if answers else {})
        return json.dumps(named, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class RunStatement:
    """What the server states of the key of a run.

    Parameters
    ----------
    run : str
        Name of the run.
    study : str
        Hash of its study, as hospitals approve it.
    key : str
        Public key (Ed25519), in hexadecimal.
    expires : datetime
        When the key expires; in UTC.
    """

    run: str
    study: str
    key: str
    expires: datetime

    def text(self) -> str:
        """Return the statement in its one spelling."""
        expires = self.expires.astimezone(UTC).isoformat(timespec="seconds")
        fields = {"format": 1, "run": self.run, "study": self.study, "key": self.key, "expires": expires}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> RunStatement:
        """Read a statement; ValueError unless it is spelt as `text` spells it."""
        fields = json.loads(text)
        statement = RunStatement(fields["run"], fields["study"], fields["key"], datetime.fromisoformat(fields["expires"]))
        if statement.text() != text:
            raise ValueError("another spelling")
        return statement


@dataclass(frozen=True)
class RunSigner:
    """The server's part of a run: it signs messages and verifies replies.

    Parameters
    ----------
    key : Ed25519PrivateKey
        Private key of the run.
    statement : RunStatement
        What the server states of it.
    statement_signature : bytes
        Signature of the statement with the key of the server's certificate.
    certificate : bytes
        That certificate, PEM.
    sites : mapping of str to str
        Public keys of the enrolled sites by name, OpenSSH format.
    """

    key: Ed25519PrivateKey
    statement: RunStatement
    statement_signature: bytes
    certificate: bytes
    sites: Mapping[str, str]

    def sign(self, message: SignedMessage) -> ConfigRecord:
        """Return the record ``signature`` of a message."""
        return ConfigRecord(
            {
                "signature": self.key.sign(_MESSAGE + message.text()),
                "statement": self.statement.text(),
                "statement-signature": self.statement_signature,
                "certificate": self.certificate,
            }
        )

    def site_key(self, name: str) -> ec.EllipticCurvePublicKey | None:
        """Return the public key of a site, None when it may not take part."""
        key = load_ssh_public_key(self.sites[name].encode()) if name in self.sites else None
        return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def digest_content(content: RecordDict) -> dict[str, str]:
    """Return the SHA-256 of each record of a message but its signature, by name."""
    return {name: digest_record(record) for name, record in content.items() if name != SIGNATURE}


def sign_statement(statement: RunStatement, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign a statement with the key of the server's certificate."""
    return key.sign(_STATEMENT + statement.text().encode(), _HASH)


def verify_message(record: object, message: SignedMessage, ca: bytes, study: str, run: str | None) -> None:
    """Verify that a message is one of the server of this federation, for this node and this study.

    Parameters
    ----------
    record : object
        The record ``signature`` of the message, None when it has none.
    message : SignedMessage
        What came.
    ca : bytes
        Certificate of the federation's authority, PEM.
    study : str
        Hash of the study that the site approved.
    run : str, optional
        Name of the run that the message gives.

    Raises
    ------
    PolicyError
        ``MESSAGE-UNSIGNED``, ``MESSAGE-FORGED``, or ``RUN-KEY-EXPIRED``.
    """
    if not isinstance(record, ConfigRecord):
        raise PolicyError("MESSAGE-UNSIGNED", "a message came that nobody signed.", _OLDER)
    statement = signed_statement(record, message, ca)
    if statement is None or statement.study != study or (run is not None and statement.run != run):
        what = "a message came that the server of this federation did not sign for this site, run and study."
        raise PolicyError("MESSAGE-FORGED", what, "Tell the server's operator: medfl audit show has it.")
    if statement.expires < datetime.now(UTC):
        what = "the key of this run has expired."
        raise PolicyError("RUN-KEY-EXPIRED", what, "Ask the server's operator to resume the run, which makes a new one.")


def signed_statement(record: object, message: SignedMessage, ca: bytes) -> RunStatement | None:
    """Return what a server of the authority states of the key that signed a message, also once it has expired.

    The parameters are those of `verify_message`. None when no such server signed the message.
    """
    try:
        statement = _read_statement(record, ca)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(statement.key))
        key.verify(_bytes(record, "signature"), _MESSAGE + message.text())
    except _NOT_SIGNED:
        return None
    return statement


def sign_reply(reply: SignedMessage, answers: str, key: ec.EllipticCurvePrivateKey) -> ConfigRecord:
    """Return the record ``signature`` of a reply, of the same size whatever is signed.

    Parameters
    ----------
    reply : SignedMessage
        The reply.
    answers : str
        Digest of the message that it answers.
    key : EllipticCurvePrivateKey
        Private key of the site, on P-384.
    """
    r, s = decode_dss_signature(key.sign(_REPLY + reply.text(answers), _HASH))
    return ConfigRecord({"signature": r.to_bytes(_P384_BYTES, "big") + s.to_bytes(_P384_BYTES, "big")})


def is_signed_by(record: object, reply: SignedMessage, answers: str, key: ec.EllipticCurvePublicKey) -> bool:
    """Return whether a reply was signed by the holder of a key, as the answer to this message."""
    try:
        signature = _bytes(record, "signature")
        if len(signature) != 2 * _P384_BYTES:
            return False
        r, s = (int.from_bytes(part, "big") for part in (signature[:_P384_BYTES], signature[_P384_BYTES:]))
        key.verify(encode_dss_signature(r, s), _REPLY + reply.text(answers), _HASH)
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return False
    return True


def signature_hex(record: object) -> str:
    """Return the signature of a record ``signature`` for a log, "" when it has none of a sensible length."""
    signature = record.get("signature") if isinstance(record, ConfigRecord) else None
    return signature.hex() if isinstance(signature, bytes) and len(signature) <= 2 * _P384_BYTES else ""


def read_run_key(record: object) -> str:
    """Return the public key that a record ``signature`` states, for a log, "" when it states none; nothing is verified."""
    try:
        text = record["statement"] if isinstance(record, ConfigRecord) else None
        if not isinstance(text, str) or len(text) > _MAX_STATEMENT:
            return ""
        key = RunStatement.parse(text).key
        return key if len(bytes.fromhex(key)) == _KEY_BYTES else ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


def is_signed_with(run_key: str, signature: str, message: SignedMessage) -> bool:
    """Return whether a message was signed with the key of a run; key and signature in hexadecimal, as logs hold them."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(run_key))
        key.verify(bytes.fromhex(signature), _MESSAGE + message.text())
    except (InvalidSignature, ValueError):
        return False
    return True


def _read_statement(record: object, ca: bytes) -> RunStatement:
    """Return the statement of a message once its chain is verified: authority, server's certificate, statement."""
    authority = x509.load_pem_x509_certificate(ca)
    certificate = x509.load_pem_x509_certificate(_bytes(record, "certificate"))
    certificate.verify_directly_issued_by(authority)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    key, text = certificate.public_key(), record["statement"] if isinstance(record, ConfigRecord) else None
    if certificate.not_valid_before_utc > datetime.now(UTC):
        raise ValueError("the certificate is not valid yet")
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not the certificate of a server")  # but that of a hospital
    if not isinstance(text, str) or len(text) > _MAX_STATEMENT:
        raise ValueError("not a statement")
    key.verify(_bytes(record, "statement-signature"), _STATEMENT + text.encode(), _HASH)
    statement = RunStatement.parse(text)
    if (
        statement.expires > certificate.not_valid_after_utc
    ):  # so that whoever finds it expired reads that, not that it was forged
        raise ValueError("the statement would outlive the certificate")
    return statement


def _bytes(record: object, key: str) -> bytes:
    value = record[key] if isinstance(record, ConfigRecord) else None
    if not isinstance(value, bytes):
        raise TypeError(key)
    return value
