"""Log entries of every exchange, at a site and at the server: records, sizes, hashes, signatures and decisions, never a value.

In every message each side sends the last entry of its own log, and logs that of the other side. So neither can rewrite its log
without the other's log showing it (`medfl audit verify`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp import Grid

from medfl.audit.chain import Chain
from medfl.errors import safe_sentence
from medfl.flower import compat
from medfl.grids.grid_wrapper import GridWrapper
from medfl.grids.lost_nodes import answer_with_error
from medfl.messages import records
from medfl.messages.digests import digest_record, values_json
from medfl.messages.embedded_signature import embed_signature, extract_signature
from medfl.messages.replies import describe_error
from medfl.messages.signatures import (
    SIGNATURE,
    RunSigner,
    SignedMessage,
    digest_content,
    is_signed_by,
    read_run_key,
    signature_hex,
)

Signer = Callable[[Mapping[str, str]], ConfigRecord]

ACCEPTED = "accepted"
SERVER = "server"  # owner of the log of a run at the server: server:RUN
_MAX_NAMES = 100  # logged of one message, as the other side decides how many there are
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./ -]{0,99}")
_HEAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,169} \d{1,12} [0-9a-f]{64}")
_INVALID_NAME = "?"  # stands for a name from the other side that is not valid


def log_received(chain: Chain, message: Message, decision: str, digests: Mapping[str, str] | None = None) -> None:
    """Log at a site what the server sent, and what was decided about it.

    Parameters
    ----------
    chain : Chain
        The site's log.
    message : Message
        The message.
    decision : str
        `ACCEPTED`, or the code of the refusal.
    digests : mapping of str to str, optional
        Digests of its records, if they are known.
    """
    event: dict[str, Any] = {"event": "came", **_message_fields(message), "decision": decision}
    if message.has_content():
        content = message.content
        event |= {"head": _read_head(content, records.CONFIG, SERVER), "records": summarise(content, digests)}
        event |= {"signature": signature_hex(content.get(SIGNATURE)), "run-key": read_run_key(content.get(SIGNATURE))}
    chain.append(event)


def log_sent(chain: Chain, message: Message, reply: Message, sign: Signer | None = None, answers: str = "") -> None:
    """Log at a site what it answers, and put the last entry of the site's log, and a signature, into the answer.

    Parameters
    ----------
    chain : Chain
        The site's log.
    message : Message
        The message that is answered.
    reply : Message
        The answer; changed in place.
    sign : callable, optional
        Returns the record ``signature`` of the answer from the digests of its records.
    answers : str
        Digest of the message that is answered, as it is signed.
    """
    event: dict[str, Any] = {"event": "left", **_message_fields(message)}
    if reply.has_error():
        chain.append(event | {"error": describe_error(reply.error)})
        return
    site = reply.content.get(records.SITE)
    if isinstance(site, ConfigRecord):
        site[records.AUDIT_HEAD] = format_head(chain)
    digests = digest_content(reply.content)
    event |= {"records": summarise(reply.content, digests)}
    if sign is not None:
        reply.content[SIGNATURE] = sign(digests)
        event |= {"answers": answers, "signature": signature_hex(reply.content[SIGNATURE])}
    chain.append(event)


def format_head(chain: Chain) -> str:
    """Return the last entry of a log as it is sent to the other side: owner, number, hash."""
    number, _, digest = chain.head.partition(":")
    return f"{chain.owner} {number} {digest}"


def summarise(content: RecordDict, digests: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return what a message holds without any of its values: name, kind, bytes, hash, and the names of metrics and keys.

    Its signature is no part of it.
    """
    known = digests or {}
    listed = [(name, record) for name, record in content.items() if name != SIGNATURE]
    summaries = [
        {"name": _safe_name(name), **_summarise_record(record), "sha256": known.get(name) or digest_record(record)}
        for name, record in listed[:_MAX_NAMES]
    ]
    more = len(listed) - len(summaries)
    return [*summaries, {"more": more}] if more else summaries


@dataclass(frozen=True)
class _Asked:
    """A message that was sent: what is logged of it, to whom and as what it went, and what a reply to it must name."""

    fields: Mapping[str, Any]
    metadata: Metadata
    signed: SignedMessage


class AuditingGrid(GridWrapper):
    """A Grid that logs what the server sends and what comes back; to be wrapped in a `StreamingGrid`, which pushes and pulls.

    Parameters
    ----------
    grid : Grid
        The grid that is wrapped.
    chain : Chain
        The server's log of this run.
    signer : RunSigner, optional
        Signs what is sent, and verifies what comes back.
    """

    def __init__(self, grid: Grid, chain: Chain, signer: RunSigner | None = None) -> None:
        super().__init__(grid)
        self._chain, self._signer = chain, signer
        self._pending: dict[str, _Asked] = {}  # messages that are not answered yet, by their identifiers
        self._known: dict[int, str] = {}  # names of the nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, signed and with the last entry of the log, once each is logged: none can leave without a trace."""
        sent = list(messages)
        head = format_head(self._chain)
        whole = [message.content for message in sent]
        shared = {id(content): content for content in whole}
        for content in shared.values():
            config = content.get(records.CONFIG)
            if isinstance(config, ConfigRecord):
                config[records.AUDIT_HEAD] = head
        digests = {key: digest_content(content) for key, content in shared.items()}
        try:
            asked = [self._sign_and_log(message, digests[id(message.content)]) for message in sent]
            identifiers = list(self._grid.push_messages(sent))
        finally:  # whoever sends a message again must find it without the signature of the first time
            for message, content in zip(sent, whole, strict=True):
                message.content = content
        for identifier, about in zip(identifiers, asked, strict=True):
            if identifier:
                self._pending[identifier] = about
        return identifiers

    def _sign_and_log(self, message: Message, digests: Mapping[str, str]) -> _Asked:
        about = message.metadata
        signed = SignedMessage(about.run_id, about.message_type, about.dst_node_id, digests)
        fields = {"site": self._site(about.dst_node_id), **_message_fields(message)}
        event = {"event": "sent", **fields, "records": summarise(message.content, digests)}
        if self._signer is not None:
            signature = self._signer.sign(signed)
            event |= {"signature": signature_hex(signature), "run-key": self._signer.statement.key}
            # a content of its own, as others get the same records with other signatures
            message.content = RecordDict({**dict(message.content.items()), SIGNATURE: signature})
            embed_signature(message.content, records.CONFIG)
        self._chain.append(event)
        return _Asked(fields, about, signed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, and log each; one that its site did not sign is answered with an error instead."""
        taken = [self._take_reply(reply) for reply in self._grid.pull_messages(message_ids)]
        return [reply for reply in taken if reply is not None]

    def _take_reply(self, reply: Message) -> Message | None:
        identifier = reply.metadata.reply_to_message_id
        asked = self._pending.pop(identifier, None)
        if asked is None:
            about = {"site": self._site(reply.metadata.src_node_id), "decision": "REPLY-UNASKED"}
            self._chain.append(
                {"event": "received", **about, "records": summarise(reply.content) if reply.has_content() else []}
            )
            return None
        event: dict[str, Any] = {"event": "received", **asked.fields}
        if reply.has_error():
            self._chain.append(event | {"error": describe_error(reply.error)})
            return reply
        content = reply.content
        extract_signature(content, records.SITE)
        digests = digest_content(content)
        head = _read_head(content, records.SITE, str(asked.fields["site"]))
        event |= {"head": head, "records": summarise(content, digests), "signature": signature_hex(content.get(SIGNATURE))}
        if self._signer is not None:
            event |= {"answers": asked.signed.digest(), "site-key": self._signer.sites.get(str(asked.fields["site"]), "")}
        code = self._find_fault(asked, content.pop(SIGNATURE, None), digests)
        self._chain.append(event | ({"decision": code} if code else {}))
        if not code:
            return reply
        error = Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_sentence(code))
        return answer_with_error(identifier, asked.metadata, error)

    def _find_fault(self, asked: _Asked, signature: object, digests: Mapping[str, str]) -> str:
        """Return the code of what is wrong with the signature of a reply, "" when it is right."""
        if self._signer is None:
            return ""
        if signature is None:
            return "REPLY-UNSIGNED"
        reply = replace(asked.signed, digests=digests)
        key = self._signer.site_key(str(asked.fields["site"]))
        return "" if key is not None and is_signed_by(signature, reply, asked.signed.digest(), key) else "REPLY-FORGED"

    def _site(self, node: int) -> str:
        if node not in self._known:
            self._known |= {info.node_id: info.name for info in self._grid.get_nodes() if info.name}
        return _safe_name(self._known.get(node, f"node-{node}"))


def _message_fields(message: Message) -> dict[str, Any]:
    about = message.metadata
    fields: dict[str, Any] = {"type": _safe_name(about.message_type), "flower-run": about.run_id, "node": about.dst_node_id}
    config = message.content.get(records.CONFIG) if message.has_content() else None
    if isinstance(config, ConfigRecord):
        run, number = config.get(records.RUN), config.get(records.ROUND)
        fields |= {"run": _safe_name(run)} if isinstance(run, str) else {}
        fields |= {"round": number} if isinstance(number, int) else {}
    return fields


def _read_head(content: RecordDict, name: str, owner: str) -> str:
    """Return the last entry of the sender's own log; what it says of another log is not logged."""
    record = content.get(name)
    head = record.get(records.AUDIT_HEAD) if isinstance(record, ConfigRecord) else None
    if not isinstance(head, str) or not _HEAD.fullmatch(head):
        return ""
    return head if head.partition(" ")[0].partition(":")[0] == owner else ""


def _summarise_record(record: object) -> dict[str, Any]:
    if isinstance(record, ArrayRecord):
        summary: dict[str, Any] = {"kind": "arrays", "tensors": len(record), "bytes": sum(len(a.data) for a in record.values())}
    else:
        names = sorted(record) if isinstance(record, MetricRecord | ConfigRecord) else []
        kind = "metrics" if isinstance(record, MetricRecord) else "config"
        summary = {"kind": kind, "keys": list(map(_safe_name, names[:_MAX_NAMES])), "bytes": len(values_json(record))}
        summary |= {"more": len(names) - _MAX_NAMES} if len(names) > _MAX_NAMES else {}
    return summary


def _safe_name(text: str) -> str:
    return text if _NAME.fullmatch(text) else _INVALID_NAME
