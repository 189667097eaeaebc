"""Rows of the ledger: how questions, runs and approvals are written, each within a transaction of `LedgerDatabase`."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from medfl.errors import ExchangeError, PolicyError
from medfl.privacy.ledger_cases import newest_version
from medfl.privacy.ledger_records import Reservation
from medfl.privacy.question_rules import Asked
from medfl.privacy.questions import Item

RUNS_ALLOWED = 3  # of an approval that does not say otherwise; a run counts once it asks more than whether the site takes part
JOINED_RUNS_ALLOWED = 20  # runs beside these that join and go no further, as when another hospital is missing
KEEP_DAYS = 90  # for which the trained models of a run that asks nothing more are kept
ATTEMPTS = 10  # to answer one question: each tells how long it takes, and how something ends that depends on chance
JOINS_COMPUTED = 100  # a day and run: as often may a site that declines look whether it can take part now
JOINS_GIVEN = 1000  # likewise, of the answer that is kept

BEGINS = "kind != 'join'"  # questions with which a run begins

_ADD = "Allow further runs with 'medfl site budget --add', if you agree to them."
_DAY = 86400
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_GIVEN_UP = "study = ? AND sha256 IS NULL AND attempts >= ? AND kind != 'join'"
_THIS = "study = ? AND run = ? AND arm = ? AND kind = ? AND round = ? AND digest = ?"


@dataclass(frozen=True)
class Row:
    """A question of before.

    Parameters
    ----------
    state : {"reserved", "failed", "held", "answered"}
        How far it came.
    sha256 : str, optional
        Hash of the answer; None when there is none.
    file : str, optional
        File of the answer; None when only the hash is kept.
    attempts : int
        How often work on an answer began.
    terms : str
        Terms of the policy under which that was.
    """

    state: str
    sha256: str | None
    file: str | None
    attempts: int
    terms: str


def begin_run(connection: sqlite3.Connection, study: str, name: str, run: str, now: float) -> bool:
    """Register a run that may still begin, or has begun, and return whether it is new."""
    if not _RUN_NAME.fullmatch(run):
        raise ExchangeError("RUN-NAME", "the name that the server gives the run is not valid.")
    check_runs(connection, study, name, run)
    if connection.execute("SELECT 1 FROM runs WHERE study = ? AND run = ?", (study, run)).fetchone():
        return False
    known = connection.execute("SELECT count(*) FROM runs WHERE study = ?", (study,)).fetchone()[0]
    if known >= _read_runs_allowed(connection, study) + JOINED_RUNS_ALLOWED:
        what = f"{known} runs of the study {name} have joined at this site, and only some of them went on."
        raise PolicyError("RUNS-SPENT", what, f"The server's operator can resume one of them. {_ADD}")
    connection.execute("INSERT INTO runs VALUES (?, ?, ?)", (study, run, now))
    return True


def check_runs(connection: sqlite3.Connection, study: str, name: str, run: str) -> None:
    """Raise ``RUNS-SPENT`` unless a run has begun, with a question beyond joining, or another run may still begin."""
    allowed = allow_runs(connection, study, name, None)
    if connection.execute(f"SELECT 1 FROM questions WHERE study = ? AND run = ? AND {BEGINS}", (study, run)).fetchone():
        return
    count = f"SELECT count(DISTINCT run) FROM questions WHERE study = ? AND {BEGINS}"
    begun = connection.execute(count, (study,)).fetchone()[0]
    if begun >= allowed:
        what = f"the study {name} has begun {begun} runs at this site, and its approval is for {allowed}."
        raise PolicyError("RUNS-SPENT", what, _ADD)


def allow_runs(connection: sqlite3.Connection, study: str, name: str, runs: int | None) -> int:
    """Record an approval, with a number of runs if one is given, and return the number."""
    insert = "INSERT OR IGNORE INTO approvals (study, name, runs_allowed) VALUES (?, ?, ?)"
    connection.execute(insert, (study, name, RUNS_ALLOWED))
    if runs is not None:
        connection.execute("UPDATE approvals SET runs_allowed = ? WHERE study = ?", (max(runs, 0), study))
    return _read_runs_allowed(connection, study)


def add_runs(connection: sqlite3.Connection, study: str, n: int) -> int:
    """Change how many runs are allowed, and return the number."""
    connection.execute("UPDATE approvals SET runs_allowed = max(runs_allowed + ?, 0) WHERE study = ?", (n, study))
    return _read_runs_allowed(connection, study)


def find(connection: sqlite3.Connection, reservation: Reservation) -> Row | None:
    """Return the same question of before."""
    row = connection.execute(
        f"SELECT state, sha256, file, attempts, terms FROM questions WHERE {_THIS}", reservation.key
    ).fetchone()
    return Row(*row) if row else None


def list_asked(connection: sqlite3.Connection, reservation: Reservation) -> list[Asked]:
    """Return what the same arm of the same run asked before; of other items, all models together as one."""
    study, run, arm, kind, round_, _ = reservation.key
    query = """SELECT kind, round, CASE WHEN kind = ? AND round = ? THEN digest ELSE '' END AS model, max(sha256 IS NOT NULL)
        FROM questions WHERE study = ? AND run = ? AND arm = ? GROUP BY kind, round, model"""
    rows = connection.execute(query, (kind, round_, study, run, arm))
    return [
        Asked(Item(arm, kind, round_), model or reservation.question.digest, bool(is_answered))
        for kind, round_, model, is_answered in rows
    ]


def check_attempts(row: Row | None) -> None:
    """Raise ``NOT-ANSWERED`` when work on a question began as often as it may, and never came to an answer."""
    if row is not None and row.sha256 is None and row.attempts >= ATTEMPTS:
        what = f"work on this question began {row.attempts} times and came to no answer; nothing more is done for it."
        fix = "The log says why each failed. Once that is mended, allow more with 'medfl site budget STUDY --retry'."
        raise PolicyError("NOT-ANSWERED", what, fix)


def allow_attempts(connection: sqlite3.Connection, study: str) -> int:
    """Let work begin again on those questions of a study that were given up, and return how many they are."""
    return connection.execute(f"UPDATE questions SET attempts = 0 WHERE {_GIVEN_UP}", (study, ATTEMPTS)).rowcount


def count_given_up(connection: sqlite3.Connection, study: str) -> int:
    """Return how many questions of a study had as many attempts as they may, and no answer."""
    return int(connection.execute(f"SELECT count(*) FROM questions WHERE {_GIVEN_UP}", (study, ATTEMPTS)).fetchone()[0])


def write_reservation(connection: sqlite3.Connection, reservation: Reservation, now: float, questions: int) -> None:
    """Count a question; the same one again keeps its number."""
    connection.execute(
        """INSERT INTO questions (study, run, arm, kind, round, digest, state, attempts, asked, terms)
        VALUES (?, ?, ?, ?, ?, ?, 'reserved', 1, ?, ?)
        ON CONFLICT (study, run, arm, kind, round, digest) DO UPDATE
        SET state = 'reserved', attempts = attempts + 1, asked = excluded.asked, terms = excluded.terms""",
        (*reservation.key, now, reservation.terms),
    )
    connection.execute("UPDATE approvals SET questions = ? WHERE study = ?", (questions, reservation.study_hash))


def write_answer(
    connection: sqlite3.Connection, reservation: Reservation, file: str, sha256: str, now: float, *, is_held: bool
) -> None:
    """Record an answer that is on the disk."""
    cases = newest_version(connection, reservation.study_hash, reservation.question.run)
    connection.execute(
        f"UPDATE questions SET state = ?, answered = ?, sha256 = ?, file = ?, cases = ?, code = NULL, terms = ? WHERE {_THIS}",
        ("held" if is_held else "answered", now, sha256, file, cases, reservation.terms, *reservation.key),
    )


def hold(connection: sqlite3.Connection, reservation: Reservation) -> None:
    """Let an answer that is kept wait for a person from now on."""
    connection.execute(
        f"UPDATE questions SET state = 'held', terms = ? WHERE {_THIS} AND file IS NOT NULL",
        (reservation.terms, *reservation.key),
    )


def write_failure(connection: sqlite3.Connection, reservation: Reservation, code: str) -> None:
    """Record that a question was not answered, unless another process has answered it meanwhile."""
    connection.execute(
        f"UPDATE questions SET state = 'failed', code = ? WHERE {_THIS} AND sha256 IS NULL", (code, *reservation.key)
    )


def forget_earlier_rounds(connection: sqlite3.Connection, reservation: Reservation) -> list[str]:
    """Keep only hashes of earlier rounds of an arm, and of its trained models once it is tested; return files to remove."""
    study, run, arm, kind, round_, _ = reservation.key
    if kind == "test":
        return _forget(connection, "study = ? AND run = ? AND arm = ? AND kind = 'train'", (study, run, arm))
    return _forget(connection, "study = ? AND run = ? AND arm = ? AND kind != 'test' AND round < ?", (study, run, arm, round_))


def forget_old_runs(connection: sqlite3.Connection, now: float) -> list[str]:
    """Keep only hashes of the trained models of runs that have asked nothing for long; return files to remove."""
    old = """kind = 'train' AND (study, run) IN
        (SELECT study, run FROM questions GROUP BY study, run HAVING max(asked) < ?)"""
    return _forget(connection, old, (now - KEEP_DAYS * _DAY,))


def list_files(connection: sqlite3.Connection) -> set[str]:
    """Return the names of all files of answers that are kept."""
    return {row[0] for row in connection.execute("SELECT file FROM questions WHERE file IS NOT NULL")}


def count_join(connection: sqlite3.Connection, study: str, run: str, now: float, *, is_kept: bool) -> None:
    """Count one more request to join on this day; a clock that goes back does not begin a new day."""
    row = connection.execute("SELECT day, computed, given FROM joins WHERE study = ? AND run = ?", (study, run)).fetchone()
    day = int(now // _DAY)
    computed, given = (row["computed"], row["given"]) if row and row["day"] >= day else (0, 0)
    if (given >= JOINS_GIVEN) if is_kept else (computed >= JOINS_COMPUTED):
        what = "the server has asked too often on one day whether this site takes part."
        raise PolicyError("JOIN-LIMIT", what, "It is answered again tomorrow.")
    values = (study, run, max(day, row["day"] if row else 0), computed + (not is_kept), given + is_kept)
    connection.execute("INSERT OR REPLACE INTO joins VALUES (?, ?, ?, ?, ?)", values)


def release(connection: sqlite3.Connection, numbers: Collection[int]) -> int:
    """Let held answers go, and return how many did."""
    held = connection.execute("SELECT number FROM questions WHERE state = 'held'").fetchall()
    chosen = [(row["number"],) for row in held if row["number"] in numbers]
    connection.executemany("UPDATE questions SET state = 'answered' WHERE number = ?", chosen)
    return len(chosen)


def _forget(connection: sqlite3.Connection, condition: str, values: tuple[object, ...]) -> list[str]:
    rows = connection.execute(f"SELECT number, file FROM questions WHERE file IS NOT NULL AND {condition}", values).fetchall()
    connection.executemany("UPDATE questions SET file = NULL WHERE number = ?", [(row["number"],) for row in rows])
    return [row["file"] for row in rows]


def _read_runs_allowed(connection: sqlite3.Connection, study: str) -> int:
    row = connection.execute("SELECT runs_allowed FROM approvals WHERE study = ?", (study,)).fetchone()
    return int(row[0]) if row else 0
