"""Database of Flower's SuperLink: what it holds for runs that ended, and what each hospital's node makes it hold.

Flower clears a run that ended only once somebody asks for it, and forgets a message that expired, but not the objects that came
with it. Tables and columns are Flower's own; ``tests/flower/test_state_database.py`` fails first when a new version moves one.
Every change is a short transaction, as the SuperLink waits for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BUSY_SECONDS = 5.0
_BATCH = 8  # objects that one transaction removes, of 5 MiB each
_SPARE_PAGES = 4096  # free pages of 4 KiB that are worth the rewriting of the file
_UNSIGNED = (1 << 64) - 1  # Flower writes unsigned numbers of nodes and runs as signed ones

# Whatever is not known to have ended goes on
_ACTIVE_RUNS = "SELECT run.run_id FROM run LEFT JOIN task ON task_id = primary_task_id WHERE finished_at IS NULL"
_IS_ROOT = "object_id NOT IN (SELECT child_id FROM object_children)"
_ENDED_ROOTS = f"""SELECT object_id FROM objects WHERE {_IS_ROOT} AND object_id NOT IN
    (SELECT object_id FROM run_objects WHERE run_id IN ({_ACTIVE_RUNS}))"""
_UNASKED_ROOTS = f"""SELECT object_id FROM objects WHERE {_IS_ROOT}
    AND object_id NOT IN (SELECT message_id FROM message_ins WHERE created_at + ttl > :now)
    AND object_id NOT IN (SELECT message_id FROM message_res WHERE created_at + ttl > :now)
    AND object_id NOT IN (SELECT message_id FROM message WHERE NOT cleared)
    AND object_id NOT IN (SELECT root_object_id FROM object_push_session_roots)"""
_HELD = """WITH RECURSIVE held(node, object_id) AS (
    SELECT src_node_id, message_id FROM message_res
    UNION SELECT node, child_id FROM held JOIN object_children ON parent_id = held.object_id)
    SELECT node, SUM(LENGTH(content)) FROM held JOIN objects USING (object_id) GROUP BY node"""

_BEING_TAKEN = """WITH RECURSIVE held(root, object_id) AS (
    SELECT root_object_id, root_object_id FROM object_push_session_roots
        WHERE root_object_id NOT IN (SELECT message_id FROM message_ins UNION SELECT message_id FROM message_res)
    UNION SELECT root, child_id FROM held JOIN object_children ON parent_id = held.object_id)
    SELECT root FROM held JOIN objects USING (object_id) GROUP BY root HAVING SUM(LENGTH(content)) > ?"""
_END_PUSH = """DELETE FROM object_push_sessions WHERE session_id IN
    (SELECT session_id FROM object_push_session_roots WHERE root_object_id = ?)"""


class StateDatabase:
    """The database of a running SuperLink, opened beside it. Use it in a ``with`` block.

    Parameters
    ----------
    path : Path
        The file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.execute("PRAGMA secure_delete = ON")

    def __enter__(self) -> StateDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def has_active_run(self) -> bool:
        """Return whether a run waits, begins or goes on."""
        return bool(self._read(f"SELECT EXISTS ({_ACTIVE_RUNS})")[0][0])

    def prune_ended(self) -> int:
        """Remove messages, replies and objects of runs that ended, and return how many objects went."""
        for table in ("message_ins", "message_res", "object_push_sessions"):
            if self._read(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE run_id NOT IN ({_ACTIVE_RUNS}))")[0][0]:
                with self._transaction():
                    self._connection.execute(f"DELETE FROM {table} WHERE run_id NOT IN ({_ACTIVE_RUNS})")
        return self._remove_trees(_first(self._read(_ENDED_ROOTS)), only_ended=True)

    def find_unasked(self) -> set[str]:
        """Return the objects with which no message begins that is still waited for, or still coming in.

        One that was just handed over belongs to them until its receiver has confirmed it.
        """
        return set(_first(self._connection.execute(_UNASKED_ROOTS, {"now": time.time()}).fetchall()))

    def prune_unasked(self, roots: Iterable[str]) -> int:
        """Remove those of some objects that are still not asked for, with all below them, and return how many went."""
        return self._remove_trees(sorted(self.find_unasked().intersection(roots)))

    def held_bytes(self) -> dict[int, int]:
        """Return the bytes that replies of each node hold, by the number of the node."""
        return {node & _UNSIGNED: int(size or 0) for node, size in self._read(_HELD)}

    def drop_replies(self, node: int) -> int:
        """Remove all replies of a node and the messages that they answer, and return how many objects went.

        The run hears at its next question that the message is gone, and counts the site as one that failed.
        """
        signed = node - (1 << 64) if node >> 63 else node
        with self._transaction():
            rows = self._read("SELECT message_id, reply_to_message_id FROM message_res WHERE src_node_id = ?", signed)
            for reply, message in rows:
                self._connection.execute("DELETE FROM message_res WHERE message_id = ?", (reply,))
                self._connection.execute("DELETE FROM message_ins WHERE message_id = ?", (message,))
                self._connection.execute(_END_PUSH, (reply,))
        return self._remove_trees(_first(rows))

    def drop_endless(self, most: int) -> int:
        """Remove replies of more than some bytes that a run takes while they still come in, and return how many there were.

        Whose they are, Flower has forgotten by then. The run gets an error in their place.
        """
        roots = _first(self._read(_BEING_TAKEN, most))
        for root in roots:
            with self._transaction():
                self._connection.execute(_END_PUSH, (root,))
        self._remove_trees(roots)
        return len(roots)

    def compact(self) -> bool:
        """Give the space of what was removed back to the disk while no run goes on; return whether that was worth it."""
        if self._read("PRAGMA freelist_count")[0][0] < _SPARE_PAGES or self.has_active_run():
            return False
        self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or else what was removed is still in the second file
        return True

    def _remove_trees(self, roots: Sequence[str], *, only_ended: bool = False) -> int:
        """Remove objects, then those below them that no other one contains, a few in each transaction.

        Parents go first, so that the children of an object in the database are always those that Flower wrote: it refuses
        an object that comes again with other children.
        """
        waiting, removed = list(roots), 0
        while waiting:
            batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
            with self._transaction():
                for identifier in batch:
                    if only_ended and self._is_used(identifier):
                        continue  # a run that began meanwhile has the same object
                    below = _first(self._read("SELECT child_id FROM object_children WHERE parent_id = ?", identifier))
                    gone = self._connection.execute(
                        "DELETE FROM objects WHERE object_id = ? AND ref_count = 0", (identifier,)
                    ).rowcount
                    if gone:
                        marks = [(child,) for child in below]
                        self._connection.executemany("UPDATE objects SET ref_count = ref_count - 1 WHERE object_id = ?", marks)
                        waiting += below
                        removed += gone
        return removed

    def _is_used(self, identifier: str) -> bool:
        text = f"SELECT EXISTS (SELECT 1 FROM run_objects WHERE object_id = ? AND run_id IN ({_ACTIVE_RUNS}))"
        return bool(self._read(text, identifier)[0][0])

    def _read(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(text, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _first(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    return [str(row[0]) for row in rows]
