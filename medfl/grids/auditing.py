"""What is noted of every exchange, at a site and at the server: records, sizes, hashes and decisions, never a value.

Each side tells the other the last link of its own chain in every message, and notes the other's. So neither can rewrite what it
noted before without the other's log showing it (`medfl audit verify`).
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
SERVER = "server"  # the log of a run at the server belongs to server:RUN
_MAX_NAMES = 100  # noted of one message: the other side decides how many there are
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./ -]{0,99}")
_HEAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,169} \d{1,12} [0-9a-f]{64}")
_INVALID_NAME = "?"  # stands for a name from the other side that is none


def log_received(chain: Chain, message: Message, decision: str) -> None:
    """Note at a site what the server sent, and what was decided about it.

    Parameters
    ----------
    chain : Chain
        The site's log.
    message : Message
        As it came.
    decision : str
        `ACCEPTED`, or the code of the refusal.
    """
    event: dict[str, Any] = {"event": "came", **_message_fields(message), "decision": decision}
    if message.has_content():
        event |= {"head": _read_head(message.content, records.CONFIG, SERVER), "records": summarise(message.content)}
    chain.append(event)


def log_sent(chain: Chain, message: Message, reply: Message) -> None:
    """Note at a site what it answers; the answer gets the last link of the site's log.

    Parameters
    ----------
    chain : Chain
        The site's log.
    message : Message
        What is answered.
    reply : Message
        The answer; changed in place.
    """
    event: dict[str, Any] = {"event": "left", **_message_fields(message)}
    if reply.has_error():
        chain.append(event | {"error": describe_error(reply.error)})
        return
    told = reply.content.get(records.SITE)
    if isinstance(told, ConfigRecord):
        told[records.AUDIT_HEAD] = format_head(chain)
    chain.append(event | {"records": summarise(reply.content)})


def format_head(chain: Chain) -> str:
    """Return the last link of a chain as it is told to the other side: owner, number, hash."""
    number, _, digest = chain.head.partition(":")
    return f"{chain.owner} {number} {digest}"


def summarise(content: RecordDict) -> list[dict[str, Any]]:
    """Say what a message holds without any of its values: name, kind, bytes, hash, and the names of metrics and keys."""
    told = [{"name": _safe_name(name), **_summarise_record(record)} for name, record in islice(content.items(), _MAX_NAMES)]
    more = len(content) - len(told)
    return [*told, {"more": more}] if more else told


class AuditingGrid(GridWrapper):
    """A Grid that notes what the server sends and what comes back; to be wrapped in a `StreamingGrid`, which pushes and pulls.

    Parameters
    ----------
    grid : Grid
        The grid that does the work.
    chain : Chain
        The server's log of this run.
    """

    def __init__(self, grid: Grid, chain: Chain) -> None:
        super().__init__(grid)
        self._chain = chain
        self._pending: dict[str, dict[str, Any]] = {}  # what is noted of a message that is not answered yet, by its identifier
        self._known: dict[int, str] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages with the last link of the log, and note each."""
        sent = list(messages)
        head = format_head(self._chain)
        for content in {id(m.content): m.content for m in sent}.values():
            config = content.get(records.CONFIG)
            if isinstance(config, ConfigRecord):
                config[records.AUDIT_HEAD] = head
        summaries = {id(m.content): summarise(m.content) for m in sent}
        about = [{"site": self._site(m.metadata.dst_node_id), **_message_fields(m)} for m in sent]
        held = [summaries[id(m.content)] for m in sent]
        identifiers = list(self._grid.push_messages(sent))
        for identifier, told, summary in zip(identifiers, about, held, strict=True):
            self._chain.append({"event": "sent", **told, "records": summary})
            if identifier:
                self._pending[identifier] = told
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, and note each."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            self._log_reply(reply)
        return replies

    def _log_reply(self, reply: Message) -> None:
        asked = self._pending.pop(reply.metadata.reply_to_message_id, None)
        told = asked or {"site": self._site(reply.metadata.src_node_id), "unasked": True}
        event: dict[str, Any] = {"event": "received", **told}
        if reply.has_error():
            self._chain.append(event | {"error": describe_error(reply.error)})
        else:
            self._chain.append(
                event | {"head": _read_head(reply.content, records.SITE, told["site"]), "records": summarise(reply.content)}
            )

    def _site(self, node: int) -> str:
        if node not in self._known:
            self._known |= {info.node_id: info.name for info in self._grid.get_nodes() if info.name}
        return _safe_name(self._known.get(node, f"node-{node}"))


def _message_fields(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"type": _safe_name(message.metadata.message_type)}
    config = message.content.get(records.CONFIG) if message.has_content() else None
    if isinstance(config, ConfigRecord):
        run, number = config.get(records.RUN), config.get(records.ROUND)
        told |= {"run": _safe_name(run)} if isinstance(run, str) else {}
        told |= {"round": number} if isinstance(number, int) else {}
    return told


def _read_head(content: RecordDict, name: str, owner: str) -> str:
    """Return the last link of a sender's own log; what one tells of another's log is not noted."""
    told = content.get(name)
    head = told.get(records.AUDIT_HEAD) if isinstance(told, ConfigRecord) else None
    if not isinstance(head, str) or not _HEAD.fullmatch(head):
        return ""
    return head if head.partition(" ")[0].partition(":")[0] == owner else ""


def _summarise_record(record: object) -> dict[str, Any]:
    digest = hashlib.sha256()
    if isinstance(record, ArrayRecord):
        for name, array in record.items():
            digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
            digest.update(array.data)
        told: dict[str, Any] = {"kind": "arrays", "tensors": len(record), "bytes": sum(len(a.data) for a in record.values())}
    else:
        values: Mapping[str, Any] = dict(record.items()) if isinstance(record, MetricRecord | ConfigRecord) else {}
        text = json.dumps({k: _to_json_value(v) for k, v in values.items()}, sort_keys=True, separators=(",", ":")).encode()
        digest.update(text)
        kind = "metrics" if isinstance(record, MetricRecord) else "config"
        told = {"kind": kind, "keys": sorted(map(_safe_name, values))[:_MAX_NAMES], "bytes": len(text)}
        told |= {"more": len(values) - _MAX_NAMES} if len(values) > _MAX_NAMES else {}
    return told | {"sha256": digest.hexdigest()}


def _to_json_value(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else [_to_json_value(v) for v in value] if isinstance(value, list) else value


def _safe_name(text: str) -> str:
    return text if _NAME.fullmatch(text) else _INVALID_NAME
