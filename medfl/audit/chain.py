"""Append-only log in which each line holds the hash of the one before, so that no line can be changed, removed or inserted.

A line is a JSON object with ``n`` (from 1), ``time`` (ISO, UTC), ``owner``, ``previous``, the keys of the event, and
``hash``: the SHA-256, in hexadecimal, of the same object without ``hash``, written with sorted keys, no blanks, and in UTF-8.
``previous`` is the ``hash`` of the line before, 64 zeros in the first. That lines are missing at the end shows only where
somebody else noted a later hash, so each side of an exchange notes the last one of the other.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medfl.errors import AuditError
from medfl.runs.history import to_json_value
from medfl.system.files import cut_torn_line, translate_disk_errors
from medfl.system.locks import take_lock

GENESIS_HASH = "0" * 64
_TAIL_BYTES = 1 << 18  # the newest bytes of a log, in which the messages without an answer are looked for
_RESERVED_KEYS = ("n", "time", "owner", "previous", "hash")


@dataclass(frozen=True)
class ChainHead:
    """State of a chain: its last line.

    Parameters
    ----------
    n : int
        Number of the last line, 0 before the first.
    hash : str
        Its hash.
    """

    n: int = 0
    hash: str = GENESIS_HASH

    def __str__(self) -> str:
        return f"{self.n}:{self.hash}"


class Chain:
    """Writer of a chain; several processes may append at once.

    Parameters
    ----------
    path : Path
        The file; the first line makes it, with mode 0600.
    owner : str
        Name of the site that writes it, or ``server``.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path, self.owner = path, owner

    @property
    def head(self) -> str:
        """Number and hash of the last line, as they are sent to the other side."""
        if not self.path.exists():
            return str(ChainHead())
        with self.path.open("rb") as file:
            return str(_read_head(file.fileno()))

    def append(self, event: Mapping[str, Any]) -> str:
        """Add a line, wait until the disk has it, and return the new head.

        Parameters
        ----------
        event : mapping
            Keys and values that JSON can hold.

        Raises
        ------
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER``.
        AuditError
            ``AUDIT-DAMAGED`` when the last line was not written by a chain: nothing is added to a broken one.
        """
        if clash := [key for key in _RESERVED_KEYS if key in event]:
            raise ValueError(f"an event cannot have {', '.join(clash)}: the chain writes them itself")
        with translate_disk_errors("the log of exchanges"), self._open_locked() as descriptor:
            torn = cut_torn_line(descriptor)
            last = _read_head(descriptor)
            if torn:
                last = self._append_line(descriptor, last, {"event": "torn-line-cut", "bytes": torn})
            return str(self._append_line(descriptor, last, to_json_value(event)))

    def _append_line(self, descriptor: int, last: ChainHead, event: Mapping[str, Any]) -> ChainHead:
        # no finer: the other side gets hashes of these lines, and could find the time of the work by trying all
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"n": last.n + 1, "time": now, "owner": self.owner, "previous": last.hash, **event}
        line["hash"] = line_hash(line)
        text = _canonical_json(line) + b"\n"
        if os.write(descriptor, text) != len(text):  # the disk is full: the next append cuts the half line off
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
        return ChainHead(last.n + 1, line["hash"])

    @contextmanager
    def _open_locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            take_lock(descriptor, wait=True)
            yield descriptor
        finally:
            os.close(descriptor)


def line_hash(line: Mapping[str, Any]) -> str:
    """Return the hash that a line must hold."""
    return hashlib.sha256(_canonical_json({key: value for key, value in line.items() if key != "hash"})).hexdigest()


def read_chain(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a chain, without verifying them.

    Raises
    ------
    AuditError
        ``AUDIT-MISSING`` when there is no such file, ``AUDIT-DAMAGED`` when a line is not a JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except (OSError, IsADirectoryError):
        raise AuditError(
            "AUDIT-MISSING", f"there is no log {path.name} that can be read.", "Give the path of its file."
        ) from None
    return [_parse_line(line, number) for number, line in enumerate(lines[:-1], 1)]


def busy_sites(path: Path) -> dict[str, float]:
    """Return the sites that have not answered the server yet, with the seconds since it asked them, from its newest lines."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")[1 if start else 0 : -1]
    except OSError:
        return {}
    waiting: dict[str, float] = {}
    now = datetime.now(UTC)
    for line in (_parse_line(line, 0) for line in lines):
        if line.get("event") == "sent":
            waiting[str(line.get("site"))] = (now - datetime.fromisoformat(line["time"])).total_seconds()
        elif line.get("event") == "received":
            waiting.pop(str(line.get("site")), None)
    return waiting


def _parse_line(line: bytes, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise AuditError(
            "AUDIT-DAMAGED",
            f"{f'line {number}' if number else 'the last line'} of the log of exchanges is not what was written.",
            "It was changed from outside; docs/audit.md says what to do.",
        )
    return value


def _canonical_json(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _read_head(descriptor: int) -> ChainHead:
    """Return the last complete line; one that a crash left incomplete is ignored."""
    text = _read_tail(descriptor)
    whole = text[: text.rfind(b"\n") + 1].rstrip(b"\n")
    if not whole:
        return ChainHead()
    line = _parse_line(whole.rpartition(b"\n")[2], 0)
    if line.get("hash") != line_hash(line) or not isinstance(line.get("n"), int):
        raise AuditError(
            "AUDIT-DAMAGED", "the last line of the log is not what was written.", "Keep the file as it is: medfl audit verify."
        )
    return ChainHead(line["n"], str(line["hash"]))


def _read_tail(descriptor: int) -> bytes:
    """Return the end of a file, at least its last two lines if it has as many."""
    end, block, tail = os.fstat(descriptor).st_size, 1 << 14, b""
    while end > 0 and tail.count(b"\n") < 3:
        start = max(0, end - block)
        tail = os.pread(descriptor, end - start, start) + tail
        end = start
    return tail
