"""SQLite file of the index. When it is lost, damaged, locked or unwritable, files are read again, and that is all.

It holds patient ids and file names, so only its owner may read it (mode 0600), and it stays in the site's folder of the store.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from medfl.data.dicom.keywords import IDENTITY_KEYWORDS, KEYWORDS
from medfl.data.findings import Finding
from medfl.data.index.file_facts import FileFacts
from medfl.data.store.private_folder import make_private_folder
from medfl.errors import DataError

INDEX_FILE = "index.sqlite"
Stamp = tuple[int, int, int]
T = TypeVar("T")

_VERSION = 3  # raise it when a reader finds other things in the same file, or a table changes
_SCHEMA_ID = zlib.crc32(repr((_VERSION, KEYWORDS)).encode()) >> 1  # fits SQLite's signed 32 bits
_LOCK_TIMEOUT = 30.0  # seconds to wait for another process that writes
_DAMAGE_CODES = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_MISMATCH,
)
_TABLES = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value BLOB);
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, kind TEXT,
    {", ".join(f"{keyword} TEXT" for keyword in IDENTITY_KEYWORDS)}, other_values TEXT, links TEXT) WITHOUT ROWID;
CREATE TABLE studies (name TEXT PRIMARY KEY, digest TEXT);
CREATE TABLE cases (study TEXT, name TEXT, patient TEXT, record TEXT);
CREATE INDEX by_name ON cases (name);
CREATE INDEX by_patient ON cases (patient);
"""


class IndexDatabase:
    """Tables of one site.

    Parameters
    ----------
    folder : Path
        The site's folder of the store; made with mode 0700.
    root : Path
        The data folder: rows about the files of another one are deleted.

    Attributes
    ----------
    problem : Finding, optional
        Why nothing can be read or saved any more.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._file, self._root = folder / INDEX_FILE, os.fsencode(root)
        self._connection: sqlite3.Connection | None = None
        self.problem: Finding | None = None
        try:
            for private in (folder.parent, folder) if not os.path.exists(self._file) else ():
                make_private_folder(private)
        except DataError:
            self.problem = _unwritable_warning()
            return
        self._run_safely(self._connect, None)

    def close(self) -> None:
        """Close the file."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def read_files(self) -> dict[bytes, tuple[Stamp, FileFacts]]:
        """Return the known facts of files, by their path relative to the data folder."""
        return self._run_safely(lambda: dict(self._iter_files()), {})

    def _iter_files(self) -> Iterator[tuple[bytes, tuple[Stamp, FileFacts]]]:
        interned: dict[str, str] = {}  # a series repeats its UIDs in each of its files
        end = 5 + len(IDENTITY_KEYWORDS)
        columns = ", ".join(IDENTITY_KEYWORDS)
        for values in self._iter_rows(f"SELECT path, size, mtime, ctime, kind, {columns}, other_values, links FROM files"):
            identity = tuple(interned.setdefault(text, text) for text in values[5:end]) if values[5] is not None else ()
            facts = FileFacts(interned.setdefault(values[4], values[4]), identity, values[end], values[end + 1])
            yield values[0], ((values[1], values[2], values[3]), facts)

    def save_files(self, rows: Iterable[tuple[bytes, Stamp, FileFacts]]) -> None:
        """Save facts of files."""
        no_identity = (None,) * len(IDENTITY_KEYWORDS)
        values = [
            (path, *stamp, facts.kind, *(facts.identity or no_identity), facts.other_values, facts.links)
            for path, stamp, facts in rows
        ]
        placeholders = ", ".join("?" * (7 + len(IDENTITY_KEYWORDS)))
        self.write([(f"INSERT OR REPLACE INTO files VALUES ({placeholders})", values)] if values else [])

    def delete_files(self, paths: Sequence[bytes]) -> None:
        """Delete the rows of files that no longer exist."""
        self.write([("DELETE FROM files WHERE path = ?", [(path,) for path in paths])] if paths else [])

    def write(self, statements: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> None:
        """Run statements with their rows in one transaction, all or nothing."""
        self._run_safely(lambda: self._write(statements), None)

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, or none when they cannot be read."""
        return self._run_safely(lambda: list(self._iter_rows(query, values)), [])

    def _write(self, statements: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> None:
        if not self._connection or not statements:
            return
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement, rows in statements:
                self._connection.executemany(statement, rows)

    def _iter_rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        return iter(self._connection.execute(query, values)) if self._connection else iter(())

    def _connect(self) -> None:
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        with contextlib.suppress(OSError):  # even if it cannot be written, it may be readable
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            os.chmod(self._file, 0o600)
        connection = sqlite3.connect(self._file, timeout=_LOCK_TIMEOUT, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            if not self._is_current(connection):
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    if not self._is_current(connection):  # another process was faster
                        self._create_tables(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_current(self, connection: sqlite3.Connection) -> bool:
        if connection.execute("PRAGMA user_version").fetchone() != (_SCHEMA_ID,):
            return False
        found: tuple[bytes] | None = connection.execute("SELECT value FROM about WHERE key = 'root'").fetchone()
        return found == (self._root,)

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            connection.execute(f'DROP TABLE "{name}"')
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO about VALUES ('root', ?)", (self._root,))
        connection.execute(f"PRAGMA user_version = {_SCHEMA_ID}")

    def _run_safely(self, action: Callable[[], T], default: T) -> T:
        """Run an action on the file, or continue without the file if it fails; a damaged one is replaced by an empty one."""
        try:
            return action()
        except sqlite3.Error as error:
            self.close()
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            try:
                if code not in _DAMAGE_CODES:
                    raise
                for file in (self._file, self._file.with_name(f"{INDEX_FILE}-journal")):
                    file.unlink(missing_ok=True)
                self._connect()
            except (OSError, sqlite3.Error):
                self.problem = _unwritable_warning()
        return default


def _unwritable_warning() -> Finding:
    what = "the index of the file headers cannot be read or written, so all headers are read at each start."
    return Finding.warning("STORE-INDEX", what, "Check free space and permissions of resources.store in site.toml.")
