"""A site that is killed at a chosen write of its ledger, or after a time, and an honest server that asks it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from medfl.privacy.ledger import Ledger
from medfl.privacy.questions import Question
from tests.privacy.asking import HASH, STUDY, ask, reply

_WRITES = ("fsync", "replace", "unlink", "mkdir", "open")
Said = dict[str, str]


def list_questions(run: str) -> list[Question]:
    """Return what an honest server asks in a run of the small study, in its order."""
    rounds = [ask("train", n, run=run) for n in range(1, STUDY.rounds + 1)]
    return [ask("join", run=run), *rounds, ask("validation", STUDY.rounds, run=run), ask("test", run=run)]


def answer_run(folder: Path, run: str, *, questions: int = 99, at_write: int = 0, after_seconds: float = 0.0) -> None:
    """Go on with a run where it stopped. What the site begins, and what leaves it, is noted beside the ledger.

    Parameters
    ----------
    folder : Path
        Folder of the ledger and the notes.
    run : str
        Name of the run.
    questions : int
        Stop after so many.
    at_write : int
        Die before this write; 0 for never.
    after_seconds : float
        Die after this time; 0 for never.
    """
    if at_write:
        _die_at(at_write)
    if after_seconds:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once, as SIGKILL does
        signal.setitimer(signal.ITIMER_REAL, after_seconds)
    ledger = Ledger(folder / "budget")
    left = {said["question"] for said in read_notes(folder, "left")}
    for question in [each for each in list_questions(run) if _name(each) not in left][:questions]:
        reservation = ledger.reserve(HASH, question, STUDY)
        if reservation.answer is None:
            _note(folder, "began", question, "")
            computed = reply(int.from_bytes(os.urandom(2), "little"))  # other numbers each time
            reservation = ledger.settle(reservation, computed)
        _note(folder, "left", question, str(reservation.answer))


def read_notes(folder: Path, kind: str) -> list[Said]:
    """Return what was noted: the questions that were begun, or those whose answers left, with the answers."""
    path = folder / f"{kind}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _note(folder: Path, kind: str, question: Question, answer: str) -> None:
    line = json.dumps({"question": _name(question), "answer": answer}) + "\n"
    descriptor = os.open(folder / f"{kind}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def _name(question: Question) -> str:
    return f"{question.run} {question.item.kind} {question.item.round}"


def _die_at(write: int) -> None:
    """Have the process die before that call which may write: of the system, or a statement of SQLite."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == write:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        count()
        return call(*arguments, **named)

    class Connection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            count()
            return super().execute(*arguments)

    for name in _WRITES:
        setattr(os, name, partial(counted, getattr(os, name)))
    sqlite3.connect = partial(sqlite3.connect, factory=Connection)
