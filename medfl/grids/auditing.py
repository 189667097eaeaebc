"""Log entries of every exchange, at a site and at the server: records, sizes, hashes and decisions, never a value.

In every message each side sends the last entry of its own log, and logs that of the other side. So neither can rewrite its log
without the other's log showing it (`medfl audit verify`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from medfl.audit.chain import Chain
from medfl.grids.grid_wrapper import GridWrapper
from medfl.messages import records
from medfl.messages.replies import describe_error

ACCEPTED = "accepted"
SERVER = "server"  # owner of the log of a run at the server: server:RUN
_MAX_NAMES = 100  # logged of one message, as the other side decides how many there are
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./ -]{0,99}")
_HEAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,169} \d{1,12} [0-9a-f]{64}")
_INVALID_NAME = "?"  # stands for a name from the other side that is not valid


def log_received(chain: Chain, message: Message, decision: str) -> None:
    """Log at a site what the server sent, and what was decided about it.

    Parameters
    ----------
    chain : Chain
        The site's log.
    message : Message
        The message.
    decision : str
        `ACCEPTED`, or the code of the refusal.
    """
    event: dict[str, Any] = {"event": "came", **_message_fields(message), "decision": decision}
    if message.has_content():
        event |= {"head": _read_head(message.content, records.CONFIG, SERVER), "records": summarise(message.content)}
    chain.append(event)


def log_sent(chain: Chain, message: Message, reply: Message) -> None:
    """Log at a site what it answers, and put the last entry of the site's log into the answer.

    Parameters
    ----------
    chain : Chain
        The site's log.
    message : Message
        The message that is answered.
    reply : Message
        The answer; changed in place.
    """
    event: dict[str, Any] = {"event": "left", **_message_fields(message)}
    if reply.has_error():
        chain.append(event | {"error": describe_error(reply.error)})
        return
    site = reply.content.get(records.SITE)
    if isinstance(site, ConfigRecord):
        site[records.AUDIT_HEAD] = format_head(chain)
    chain.append(event | {"records": summarise(reply.content)})


def format_head(chain: Chain) -> str:
    """Return the last entry of a log as it is sent to the other side: owner, number, hash."""
    number, _, digest = chain.head.partition(":")
    return f"{chain.owner} {number} {digest}"


def summarise(content: RecordDict) -> list[dict[str, Any]]:
    """Return what a message holds without any of its values: name, kind, bytes, hash, and the names of metrics and keys."""
    summaries = [
        {"name": _safe_name(name), **_summarise_record(record)} for name, record in islice(content.items(), _MAX_NAMES)
    ]
    more = len(content) - len(summaries)
    return [*summaries, {"more": more}] if more else summaries


class AuditingGrid(GridWrapper):
    """A Grid that logs what the server sends and what comes back; to be wrapped in a `StreamingGrid`, which pushes and pulls.

    Parameters
    ----------
    grid : Grid
        The grid that is wrapped.
    chain : Chain
        The server's log of this run.
    """

    def __init__(self, grid: Grid, chain: Chain) -> None:
        super().__init__(grid)
        self._chain = chain
        # what is logged of each message that is not answered yet, by its identifier
        self._pending: dict[str, dict[str, Any]] = {}
        self._known: dict[int, str] = {}  # names of the nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages with the last entry of the log, and log each."""
        sent = list(messages)
        head = format_head(self._chain)
        for content in {id(m.content): m.content for m in sent}.values():
            config = content.get(records.CONFIG)
            if isinstance(config, ConfigRecord):
                config[records.AUDIT_HEAD] = head
        summaries = {id(m.content): summarise(m.content) for m in sent}
        fields = [{"site": self._site(m.metadata.dst_node_id), **_message_fields(m)} for m in sent]
        ordered = [summaries[id(m.content)] for m in sent]
        identifiers = list(self._grid.push_messages(sent))
        for identifier, about, summary in zip(identifiers, fields, ordered, strict=True):
            self._chain.append({"event": "sent", **about, "records": summary})
            if identifier:
                self._pending[identifier] = about
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, and log each."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            self._log_reply(reply)
        return replies

    def _log_reply(self, reply: Message) -> None:
        about = self._pending.pop(reply.metadata.reply_to_message_id, None)
        about = about or {"site": self._site(reply.metadata.src_node_id), "unasked": True}
        event: dict[str, Any] = {"event": "received", **about}
        if reply.has_error():
            self._chain.append(event | {"error": describe_error(reply.error)})
        else:
            self._chain.append(
                event | {"head": _read_head(reply.content, records.SITE, about["site"]), "records": summarise(reply.content)}
            )

    def _site(self, node: int) -> str:
        if node not in self._known:
            self._known |= {info.node_id: info.name for info in self._grid.get_nodes() if info.name}
        return _safe_name(self._known.get(node, f"node-{node}"))


def _message_fields(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": _safe_name(message.metadata.message_type)}
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
    digest = hashlib.sha256()
    if isinstance(record, ArrayRecord):
        for name, array in record.items():
            digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
            digest.update(array.data)
        summary: dict[str, Any] = {"kind": "arrays", "tensors": len(record), "bytes": sum(len(a.data) for a in record.values())}
    else:
        values: Mapping[str, Any] = dict(record.items()) if isinstance(record, MetricRecord | ConfigRecord) else {}
        text = json.dumps({k: _to_json_value(v) for k, v in values.items()}, sort_keys=True, separators=(",", ":")).encode()
        digest.update(text)
        kind = "metrics" if isinstance(record, MetricRecord) else "config"
        summary = {"kind": kind, "keys": sorted(map(_safe_name, values))[:_MAX_NAMES], "bytes": len(text)}
        summary |= {"more": len(values) - _MAX_NAMES} if len(values) > _MAX_NAMES else {}
    return summary | {"sha256": digest.hexdigest()}


def _to_json_value(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else [_to_json_value(v) for v in value] if isinstance(value, list) else value


def _safe_name(text: str) -> str:
    return text if _NAME.fullmatch(text) else _INVALID_NAME
