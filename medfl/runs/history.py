"""History of a run: ``history.jsonl``, one event a line, in the order in which things happened."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from medfl.errors import RunError
from medfl.system.files import cut_torn_line, sync_folder, translate_disk_errors

Event = dict[str, Any]
HISTORY_FILE = "history.jsonl"
RESUME_EVENT = "resume"  # kind of the event with which an interrupted run goes on


class History:
    """Writer of events; each is on the disk when `append` returns.

    Parameters
    ----------
    path : Path
        The file ``history.jsonl``; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event as one line.

        Parameters
        ----------
        event : mapping
            Must have "event", the kind. "time" (ISO, UTC) is added when missing. NaN and infinity become null.

        Raises
        ------
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER``.
        """
        stamped = {"event": event["event"], "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        line = json.dumps(to_json_value(stamped), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with translate_disk_errors("the history"), self.path.open("ab+") as file:
            cut_torn_line(file.fileno())
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            if file.tell() == len(line):  # the first event: the name of the file must survive a loss of power, too
                sync_folder(self.path.parent)

    def read(self) -> list[Event]:
        """Return every event so far."""
        return read_history(self.path)


def read_history(path: Path) -> list[Event]:
    """Read the events of a run, oldest first.

    Parameters
    ----------
    path : Path
        The file, or the folder of the run. A missing file gives no events.

    Returns
    -------
    list of dict
        One for each line. A last line that a crash left incomplete is left out. So is a round that an interruption left
        incomplete in a run that was resumed: it was done again.

    Raises
    ------
    RunError
        ``HISTORY-DAMAGED`` when another line is not an event.
    """
    file = path / HISTORY_FILE if path.is_dir() else path
    try:
        lines = file.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    events = [_parse_event(line, number) for number, line in enumerate(lines[:-1], 1) if line.strip()]
    resumed = max((k for k, event in enumerate(events) if event["event"] == RESUME_EVENT), default=0)
    return [e for k, e in enumerate(events) if k >= resumed or e["event"] != "round" or is_complete_round(e)]


class HistoryTail:
    """Reader of the events that a run goes on to write, each once.

    Parameters
    ----------
    run : Path
        Folder of the run; it need not exist yet.
    skip_past : bool
        Leave out what has been written by now.
    """

    def __init__(self, run: Path, *, skip_past: bool = False) -> None:
        self._file, self._position = run / HISTORY_FILE, 0
        if skip_past:
            self.read_new()

    def read_new(self) -> list[Event]:
        """Return the events that were written since the last call, oldest first; a line that is not whole yet comes later."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._position)
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return [_parse_event(line) for line in whole.splitlines() if line.strip()]


def is_complete_round(event: Event) -> bool:
    """Return whether a round counted: then its event holds "bytes-up", and its model is on the disk."""
    return "bytes-up" in event


def sum_start_bytes(events: Iterable[Event]) -> int:
    """Return the bytes of a first model that was sent whole to each hospital that joined; each time where it joined again."""
    return sum(int(event.get("bytes-down") or 0) for event in events if event["event"] == "joined")


def start_indices(events: Sequence[Event]) -> list[int]:
    """Return the indices of the events with which a run started, and with which it was resumed."""
    return [k for k, event in enumerate(events) if event["event"] in ("start", RESUME_EVENT)]


def to_json_value(value: Any) -> Any:
    """Turn numpy numbers, arrays and tuples into what JSON can hold; NaN and infinity become None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    return value


def _parse_event(line: bytes, number: int = 0) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or "event" not in event:
        which = f"line {number}" if number else "a new line"
        raise RunError("HISTORY-DAMAGED", f"{which} of the history is not an event.", "Put back a copy of history.jsonl.")
    return event
