"""The outbox of a hospital: a readable copy of everything that left, one JSON file an answer.

An entry holds every number and every word of the answer, and of models and other arrays their size and norms. The files lie in
``outbox/RUN/`` beside the ledger, for their owner alone, and are named by number, kind, arm and round, as
``0007-train-federated-3.json``. An answer that is given again is the same answer, and has one entry.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from medfl.messages import records
from medfl.messages.models import BLOCK
from medfl.privacy.questions import Question
from medfl.system.files import make_private_folder, translate_disk_errors, write_file

OUTBOX = "outbox"  # folder beside the ledger
State = Literal["left", "waits", "refused", "alarm"]

_NOT_OF_THE_SITE = (records.EXCHANGE, records.AUDIT_HEAD, records.PADDING)
_NUMBER = re.compile(r"(\d+)-")


@dataclass(frozen=True)
class SentArrays:
    """Arrays that left: a model, or what an algorithm sends besides it.

    Parameters
    ----------
    record : str
        Name of the record.
    tensors, bytes : int
        How many, and their size.
    norm : float
        L2 norm of all floating-point values.
    change : float, optional
        L2 norm of the difference to the received model; None where it has other tensors, as a compressed update.
    """

    record: str
    tensors: int
    bytes: int
    norm: float
    change: float | None = None


@dataclass(frozen=True)
class OutboxEntry:
    """One answer that left, waits or was refused.

    Parameters
    ----------
    state : {"left", "waits", "refused", "alarm"}
        It left; it waits for a person to release it; an error code left instead; nothing left, but the model looks unusual.
    study, study_hash, run : str
        What it belongs to.
    kind, arm, round, question
        The item, and the digest of the question.
    time : str
        ISO time, UTC.
    code : str
        What left instead of an answer; or the code of an alarm.
    reason : str
        What the log of this site says of it; it did not leave.
    numbers : dict
        Every number that left, by name.
    words : dict of str to str
        Every text that left, by name.
    arrays : tuple of SentArrays
        Sizes and norms of arrays that left.
    number : int
        Number within the runs of this name, in the order of time; set on writing.
    """

    state: State
    study: str
    study_hash: str
    run: str
    kind: str
    arm: str
    round: int
    question: str
    time: str
    code: str = ""
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    arrays: tuple[SentArrays, ...] = ()
    number: int = 0


def describe_answer(
    state: State,
    study: str,
    study_hash: str,
    question: Question,
    content: RecordDict | None = None,
    received: RecordDict | None = None,
    *,
    code: str = "",
    reason: str = "",
) -> OutboxEntry:
    """Return the entry of an answer.

    Parameters
    ----------
    state : {"left", "waits", "refused", "alarm"}
        What became of it.
    study, study_hash : str
        Name and hash of the approved study.
    question : Question
        What was asked.
    content : RecordDict, optional
        What leaves; None when only a code does.
    received : RecordDict, optional
        What was received, for the norm of the change.
    code, reason : str
        As in `OutboxEntry`.
    """
    item, now = question.item, datetime.now(UTC).isoformat(timespec="seconds")
    numbers: dict[str, Any] = {}
    words: dict[str, str] = {}
    for record in (content or {}).values():
        if isinstance(record, MetricRecord):
            numbers |= {key: _to_json_value(value) for key, value in record.items()}
        elif isinstance(record, ConfigRecord):
            words |= {key: str(value) for key, value in record.items() if key not in _NOT_OF_THE_SITE}
    arrays = tuple(_describe_arrays(content or RecordDict(), received or RecordDict()))
    head = (study, study_hash, question.run, item.kind, item.arm, item.round, _digest(question), now)
    return OutboxEntry(state, *head, code, reason, numbers, words, arrays)


def write_outgoing(budget: Path, entry: OutboxEntry) -> Path:
    """Write an entry, durably; a later one of the same question and study replaces an earlier one under its number.

    Parameters
    ----------
    budget : Path
        Folder of the ledger.
    entry : OutboxEntry
        The entry; alarms never replace what left, nor what left an alarm.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``.
    """
    folder = budget / OUTBOX / entry.run
    stem = _file_stem(entry.kind, entry.arm, entry.round, "alarm" if entry.state == "alarm" else "")
    with translate_disk_errors("the outbox", "the question can be asked again"):
        make_private_folder(folder)
        same = _find_entry(folder, stem, entry.study_hash, entry.question)
        path = same[0] if same else folder / f"{_next_number(folder):04d}-{stem}.json"
        values = asdict(entry) | {"number": int(path.name.partition("-")[0])}
        write_file(path, json.dumps(values, indent=1, ensure_ascii=False).encode(), private=True)
    return path


def has_left(budget: Path, study_hash: str, question: Question) -> bool:
    """Return whether the outbox shows that the answer to a question left."""
    item = question.item
    found = _find_entry(
        budget / OUTBOX / question.run, _file_stem(item.kind, item.arm, item.round), study_hash, _digest(question)
    )
    return found is not None and found[1].state == "left"


def list_outgoing(budget: Path, run: str = "") -> tuple[OutboxEntry, ...]:
    """Return the entries of one run, or of all, sorted by run, study and number; a file that is none of them is left out.

    Parameters
    ----------
    budget : Path
        Folder of the ledger.
    run : str
        Name of a run, which several studies can have; empty for all.
    """
    folders = [f for f in sorted((budget / OUTBOX).glob("*")) if f.is_dir() and run in ("", f.name)]
    found = [entry for folder in folders for path in folder.glob("*.json") if (entry := read_entry(path)) is not None]
    return tuple(sorted(found, key=lambda entry: (entry.run, entry.study_hash, entry.number)))


def read_entry(path: Path) -> OutboxEntry | None:
    """Return the entry of a file, None when it is not one."""
    try:
        values = json.loads(path.read_bytes())
        known = {name.name for name in fields(OutboxEntry)}
        arrays = tuple(SentArrays(**record) for record in values["arrays"])
        return OutboxEntry(**{key: value for key, value in values.items() if key in known} | {"arrays": arrays})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _digest(question: Question) -> str:
    """Return what tells two questions of an item apart: a run joins once, whatever the words in which it is asked to."""
    return question.digest if question.item.arm else ""


def _file_stem(kind: str, arm: str, server_round: int, what: str = "") -> str:
    return "-".join(filter(None, (kind, arm, str(server_round or ""), what)))


def _find_entry(folder: Path, stem: str, study_hash: str, digest: str) -> tuple[Path, OutboxEntry] | None:
    """Return the entry of a question, and its file."""
    for path in folder.glob(f"[0-9]*-{stem}.json"):
        entry = read_entry(path)
        if entry is not None and (entry.study_hash, entry.question) == (study_hash, digest):
            return path, entry
    return None


def _next_number(folder: Path) -> int:
    return max((int(m[1]) for path in folder.glob("*.json") if (m := _NUMBER.match(path.name))), default=0) + 1


def _describe_arrays(content: RecordDict, received: RecordDict) -> Iterator[SentArrays]:
    for name, record in content.items():
        if not isinstance(record, ArrayRecord):
            continue
        tensors = records.array_views(record)
        before = received.get(name)
        known = records.array_views(before) if isinstance(before, ArrayRecord) else {}
        fits = {key: tensor.shape for key, tensor in tensors.items()} == {key: tensor.shape for key, tensor in known.items()}
        norm = math.sqrt(sum(_square_sum(tensor) for tensor in tensors.values()))
        change = math.sqrt(sum(_square_sum(tensor, known[key]) for key, tensor in tensors.items())) if fits else None
        yield SentArrays(name, len(tensors), sum(len(array.data) for array in record.values()), norm, change)


def _square_sum(tensor: NDArray[Any], before: NDArray[Any] | None = None) -> float:
    """Return the sum of squares in double precision, block by block, so that no copy of a large tensor is made."""
    if tensor.dtype.kind != "f":
        return 0.0
    flat, other = tensor.reshape(-1), None if before is None else before.reshape(-1)
    total = 0.0
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK].astype(np.float64)
        if other is not None:
            block -= other[start : start + BLOCK]
        total += float(np.dot(block, block))
    return total


def _to_json_value(value: object) -> object:
    """Return a number as JSON can hold it: what is not finite as a word."""
    if isinstance(value, list):
        return [_to_json_value(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
