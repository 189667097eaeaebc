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
from medfl.grids.base import WrappingGrid
from medfl.messages import records
from medfl.messages.replies import error_text

ACCEPTED = "accepted"
SERVER = "server"  # the log of a run at the server belongs to server:RUN
_MOST_NAMES = 100  # noted of one message: the other side decides how many there are
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./ -]{0,99}")
_HEAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,169} \d{1,12} [0-9a-f]{64}")
_UNTOLD = "?"  # stands for a name from the other side that is none


def came(chain: Chain, message: Message, decision: str) -> None:
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
    event: dict[str, Any] = {"event": "came", **_about(message), "decision": decision}
    if message.has_content():
        event |= {"head": _head_in(message.content, records.CONFIG, SERVER), "records": summarise(message.content)}
    chain.append(event)


def left(chain: Chain, message: Message, reply: Message) -> None:
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
    event: dict[str, Any] = {"event": "left", **_about(message)}
    if reply.has_error():
        chain.append(event | {"error": error_text(reply.error)})
        return
    told = reply.content.get(records.SITE)
    if isinstance(told, ConfigRecord):
        told[records.HEAD] = head_of(chain)
    chain.append(event | {"records": summarise(reply.content)})


def head_of(chain: Chain) -> str:
    """Return the last link of a chain as it is told to the other side: owner, number, hash."""
    number, _, digest = chain.head.partition(":")
    return f"{chain.owner} {number} {digest}"


def summarise(content: RecordDict) -> list[dict[str, Any]]:
    """Say what a message holds without any of its values: name, kind, bytes, hash, and the names of metrics and keys."""
    told = [{"name": _name(name), **_summary(record)} for name, record in islice(content.items(), _MOST_NAMES)]
    more = len(content) - len(told)
    return [*told, {"more": more}] if more else told


class AuditingGrid(WrappingGrid):
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
        self._asked: dict[str, dict[str, Any]] = {}  # what is noted of a message that is not answered yet, by its identifier
        self._known: dict[int, str] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages with the last link of the log, and note each."""
        sent = list(messages)
        head = head_of(self._chain)
        for content in {id(m.content): m.content for m in sent}.values():
            config = content.get(records.CONFIG)
            if isinstance(config, ConfigRecord):
                config[records.HEAD] = head
        summaries = {id(m.content): summarise(m.content) for m in sent}
        about = [{"site": self._site(m.metadata.dst_node_id), **_about(m)} for m in sent]
        held = [summaries[id(m.content)] for m in sent]
        identifiers = list(self._grid.push_messages(sent))
        for identifier, told, summary in zip(identifiers, about, held, strict=True):
            self._chain.append({"event": "sent", **told, "records": summary})
            if identifier:
                self._asked[identifier] = told
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, and note each."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            self._note(reply)
        return replies

    def _note(self, reply: Message) -> None:
        asked = self._asked.pop(reply.metadata.reply_to_message_id, None)
        told = asked or {"site": self._site(reply.metadata.src_node_id), "unasked": True}
        event: dict[str, Any] = {"event": "received", **told}
        if reply.has_error():
            self._chain.append(event | {"error": error_text(reply.error)})
        else:
            self._chain.append(
                event | {"head": _head_in(reply.content, records.SITE, told["site"]), "records": summarise(reply.content)}
            )

    def _site(self, node: int) -> str:
        if node not in self._known:
            self._known |= {info.node_id: info.name for info in self._grid.get_nodes() if info.name}
        return _name(self._known.get(node, f"node-{node}"))


def _about(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"type": _name(message.metadata.message_type)}
    config = message.content.get(records.CONFIG) if message.has_content() else None
    if isinstance(config, ConfigRecord):
        run, number = config.get(records.RUN), config.get(records.ROUND)
        told |= {"run": _name(run)} if isinstance(run, str) else {}
        told |= {"round": number} if isinstance(number, int) else {}
    return told


def _head_in(content: RecordDict, name: str, owner: str) -> str:
    """Return the last link of a sender's own log; what one tells of another's log is not noted."""
    told = content.get(name)
    head = told.get(records.HEAD) if isinstance(told, ConfigRecord) else None
    if not isinstance(head, str) or not _HEAD.fullmatch(head):
        return ""
    return head if head.partition(" ")[0].partition(":")[0] == owner else ""


def _summary(record: object) -> dict[str, Any]:
    digest = hashlib.sha256()
    if isinstance(record, ArrayRecord):
        for name, array in record.items():
            digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
            digest.update(array.data)
        told: dict[str, Any] = {"kind": "arrays", "tensors": len(record), "bytes": sum(len(a.data) for a in record.values())}
    else:
        values: Mapping[str, Any] = dict(record.items()) if isinstance(record, MetricRecord | ConfigRecord) else {}
        text = json.dumps({k: _plain(v) for k, v in values.items()}, sort_keys=True, separators=(",", ":")).encode()
        digest.update(text)
        kind = "metrics" if isinstance(record, MetricRecord) else "config"
        told = {"kind": kind, "keys": sorted(map(_name, values))[:_MOST_NAMES], "bytes": len(text)}
        told |= {"more": len(values) - _MOST_NAMES} if len(values) > _MOST_NAMES else {}
    return told | {"sha256": digest.hexdigest()}


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else [_plain(v) for v in value] if isinstance(value, list) else value


def _name(text: str) -> str:
    return text if _NAME.fullmatch(text) else _UNTOLD
