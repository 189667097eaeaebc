"""Patients of each run, as the ledger has them: fixed when a run begins, and only ever fewer after that."""

from __future__ import annotations

import json
import sqlite3

from medfl.privacy.ledger_records import RunCases
from medfl.privacy.patient_sets import Splits


def fix_cases(connection: sqlite3.Connection, study_hash: str, run: str, splits: Splits) -> None:
    """Record the patients of a run; those of before stay on record.

    Raises
    ------
    ValueError
        When a split has patients that it did not have: what was told of few new patients could be told apart.
    """
    before = read_cases(connection, study_hash, run)
    if before == dict(splits):
        return
    if before is not None and any(not patients <= before.get(split, frozenset()) for split, patients in splits.items()):
        raise ValueError("the patients of a run can only become fewer")
    version = newest_version(connection, study_hash, run) or 0
    rows = [(study_hash, run, version + 1, split, json.dumps(sorted(patients))) for split, patients in splits.items()]
    connection.executemany("INSERT INTO cases VALUES (?, ?, ?, ?, ?)", rows)


def newest_version(connection: sqlite3.Connection, study_hash: str, run: str) -> int | None:
    """Return the number of the newest record of a run's patients; None before there is one."""
    query = "SELECT max(version) FROM cases WHERE study = ? AND run = ?"
    version: int | None = connection.execute(query, (study_hash, run)).fetchone()[0]
    return version


def read_cases(connection: sqlite3.Connection, study_hash: str, run: str) -> dict[str, frozenset[str]] | None:
    """Return the patients of a run by split; None before they were fixed."""
    query = "SELECT split, patients FROM cases WHERE study = ? AND run = ? AND version = ?"
    rows = connection.execute(query, (study_hash, run, newest_version(connection, study_hash, run))).fetchall()
    return {row["split"]: frozenset(json.loads(row["patients"])) for row in rows} or None


def read_all_cases(connection: sqlite3.Connection) -> list[RunCases]:
    """Return the patients that were ever fixed for any run, in the order in which that happened.

    Also those of which nothing has left yet: a server could let two runs join, and then ask both.
    """
    query = """SELECT cases.*, coalesce(approvals.name, '') AS name FROM cases
        LEFT JOIN approvals ON approvals.study = cases.study ORDER BY cases.rowid"""
    found: dict[tuple[str, str, int], tuple[str, dict[str, frozenset[str]]]] = {}
    for row in connection.execute(query):
        _, splits = found.setdefault((row["study"], row["run"], row["version"]), (row["name"], {}))
        splits[row["split"]] = frozenset(json.loads(row["patients"]))
    return [RunCases(study, name, run, splits) for (study, run, _), (name, splits) in found.items()]
