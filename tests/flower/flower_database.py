"""A database as Flower's own code makes and fills it, with runs and messages written into its tables."""

from __future__ import annotations

import functools
import hashlib
import sqlite3
import tempfile
import time
from pathlib import Path

from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.object_store.sql_object_store import SqlObjectStore

RUN, ENDED = 11, 2**63 + 5  # Flower's numbers are unsigned, its tables' are signed
NODE = 2**63 + 9


def signed(number: int) -> int:
    return number - 2**64 if number >> 63 else number


@functools.cache
def _empty_database() -> bytes:
    """Return a database that Flower has just made, which takes it a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        store = SqlObjectStore(str(path))
        store.initialize()
        store.query("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


class FlowerDatabase:
    """Database with one run that goes on and one that ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(_empty_database())
        self.store = SqlObjectStore(str(path), verify=False)
        self.store.initialize()
        for number, finished in ((RUN, None), (ENDED, "2026-01-01 00:00:00")):
            self.write(
                "INSERT INTO task (task_id, type, run_id, pending_at, finished_at) VALUES (?, 'x', ?, '2026-01-01', ?)",
                *(signed(number), signed(number), finished),
            )
            self.write("INSERT INTO run (run_id, primary_task_id) VALUES (?, ?)", signed(number), signed(number))

    def write(self, text: str, *values: object) -> None:
        """Change the tables as another process would."""
        with sqlite3.connect(self.path) as connection:
            connection.execute(text, values)
        connection.close()

    def read(self, text: str) -> list[tuple[object, ...]]:
        """Read the tables as another process would."""
        connection = sqlite3.connect(self.path)
        rows = connection.execute(text).fetchall()
        connection.close()
        return rows

    def add_tree(self, run: int, name: str, contents: tuple[bytes, ...]) -> str:
        """Store a message's object above a record above these contents, and return its identifier."""
        leaves = [ObjectTree(object_id=hashlib.sha256(content).hexdigest()) for content in contents]
        record = ObjectTree(object_id=hashlib.sha256(b"record" + b"".join(contents)).hexdigest(), children=leaves)
        root = ObjectTree(object_id=hashlib.sha256(f"message {name}".encode()).hexdigest(), children=[record])
        self.store.preregister(run, root)
        for leaf, content in zip(leaves, contents, strict=True):
            self.store.put(leaf.object_id, content)
        self.store.put(record.object_id, b"record")
        self.store.put(root.object_id, b"message")
        return root.object_id

    def add_message(self, table: str, run: int, root: str, reply_to: str = "", node: int = NODE, ttl: float = 600.0) -> None:
        """Write the row of a message (``message_ins``) or a reply (``message_res``)."""
        self.write(
            f"INSERT INTO {table} (message_id, run_id, src_node_id, dst_node_id, reply_to_message_id, created_at,"
            " delivered_at, ttl) VALUES (?, ?, ?, 1, ?, ?, '', ?)",
            *(root, signed(run), signed(node), reply_to, time.time(), ttl),
        )

    def count(self, table: str) -> int:
        """Return the rows of a table."""
        (row,) = self.read(f"SELECT COUNT(*) FROM {table}")
        assert isinstance(row[0], int)
        return row[0]
