"""What the ledger tells the hospital itself: use of its approvals, and answers that wait to be released."""

from __future__ import annotations

import sqlite3

from medfl.privacy.ledger_records import ApprovalUsage, HeldAnswer, RunUsage
from medfl.privacy.ledger_rows import BEGINS
from medfl.privacy.questions import Item

_RUNS = f"""SELECT runs.run, runs.begun, coalesce(max(max(asked, coalesce(answered, 0))), runs.begun) AS last,
    count(questions.sha256) AS answered, count(questions.number) - count(questions.sha256) AS unanswered,
    coalesce(sum(questions.state = 'held'), 0) AS held, coalesce(max({BEGINS}), 0) AS has_begun
    FROM runs LEFT JOIN questions ON (questions.study, questions.run) = (runs.study, runs.run)
    WHERE runs.study = ? GROUP BY runs.run ORDER BY runs.begun, runs.run"""


def read_usage(connection: sqlite3.Connection) -> tuple[ApprovalUsage, ...]:
    """Return the use of each approval that was ever given, by name."""
    approvals = connection.execute("SELECT * FROM approvals ORDER BY name, study").fetchall()
    return tuple(
        ApprovalUsage(row["study"], row["name"], row["runs_allowed"], row["questions"], _read_runs(connection, row["study"]))
        for row in approvals
    )


def read_items(connection: sqlite3.Connection, study: str, run: str) -> tuple[tuple[Item, str], ...]:
    """Return what a run has asked, answered or not, once for each model, with the terms of each."""
    query = "SELECT arm, kind, round, terms FROM questions WHERE study = ? AND run = ? ORDER BY number"
    return tuple((Item(*row[:3]), row["terms"]) for row in connection.execute(query, (study, run)))


def read_held(connection: sqlite3.Connection) -> tuple[HeldAnswer, ...]:
    """Return the answers that wait, the oldest first."""
    query = """SELECT questions.*, approvals.name FROM questions JOIN approvals USING (study)
        WHERE state = 'held' AND file IS NOT NULL ORDER BY number"""
    return tuple(
        HeldAnswer(
            number=row["number"],
            study_hash=row["study"],
            study_name=row["name"],
            run=row["run"],
            item=Item(row["arm"], row["kind"], row["round"]),
            since=row["answered"],
        )
        for row in connection.execute(query)
    )


def _read_runs(connection: sqlite3.Connection, study: str) -> tuple[RunUsage, ...]:
    return tuple(
        RunUsage(
            run=row["run"],
            begun=row["begun"],
            last=row["last"],
            answered=row["answered"],
            unanswered=row["unanswered"],
            held=row["held"],
            has_begun=bool(row["has_begun"]),
        )
        for row in connection.execute(_RUNS, (study,))
    )
