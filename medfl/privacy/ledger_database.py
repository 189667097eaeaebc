"""SQLite file of the ledger: every change is on the disk before the next thing happens, or it has not happened at all.

A connection is opened for each change and closed after it, so that no process goes on in a file that was moved away. The
journal is not SQLite's write-ahead log, which no network drive carries, but a file that is emptied at the end of each change.
``synchronous = FULL`` waits for that, too: otherwise a loss of power could bring it back, and with it the state before.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medfl.errors import DataError
from medfl.system.files import is_disk_full, sync_folder

LEDGER_FILE = "ledger.db"
ANSWERS_FOLDER = "answers"

_VERSION = 1  # raise it when a table changes, and carry over the rows of versions that were released
_LOCK_TIMEOUT = 30.0  # seconds to wait for another process that writes
_FULL_CODES = (sqlite3.SQLITE_FULL,)
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_TABLES = (
    "CREATE TABLE approvals (study TEXT PRIMARY KEY, name TEXT NOT NULL, runs_allowed INTEGER NOT NULL, questions INTEGER)",
    "CREATE TABLE runs (study TEXT NOT NULL, run TEXT NOT NULL, begun REAL NOT NULL, PRIMARY KEY (study, run))",
    """CREATE TABLE questions (number INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, run TEXT NOT NULL,
    arm TEXT NOT NULL, kind TEXT NOT NULL, round INTEGER NOT NULL, digest TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL, asked REAL NOT NULL, answered REAL, sha256 TEXT, file TEXT, cases INTEGER, code TEXT,
    terms TEXT NOT NULL, UNIQUE (study, run, arm, kind, round, digest))""",
    """CREATE TABLE cases (study TEXT NOT NULL, run TEXT NOT NULL, version INTEGER NOT NULL, split TEXT NOT NULL,
    patients TEXT NOT NULL, PRIMARY KEY (study, run, version, split))""",
    """CREATE TABLE joins (study TEXT NOT NULL, run TEXT NOT NULL, day INTEGER NOT NULL, computed INTEGER NOT NULL,
    given INTEGER NOT NULL, PRIMARY KEY (study, run))""",
)


class LedgerDatabase:
    """The file, and the folder of the answers beside it.

    Parameters
    ----------
    folder : Path
        Made with mode 0700 at the first change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers = folder / ANSWERS_FOLDER
        self._file = folder / LEDGER_FILE
        self._is_checked = False

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded here."""
        return os.path.lexists(self._file) or os.path.lexists(self.answers)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the ledger, all or nothing; when this ends without an error, the disk has the change.

        Other processes that want to change it wait meanwhile, so whatever was read inside still holds when it ends.

        Raises
        ------
        DataError
            ``LEDGER-DAMAGED`` when the file cannot be read or written, whatever the reason: nothing unrecorded is answered.
        """
        with translate_ledger_errors():
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                    raise
            finally:
                connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read the ledger; where nothing was ever recorded, one without rows is read, and nothing is made.

        Raises
        ------
        DataError
            ``LEDGER-DAMAGED``.
        """
        with translate_ledger_errors():
            connection = self._open() if self.exists else _open_empty()
            try:
                yield connection
            finally:
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
        os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._file, timeout=_LOCK_TIMEOUT, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = FULL")
            self._ensure_tables(connection)
            if not self._is_checked:
                if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    raise sqlite3.DatabaseError("damaged")
                self._is_checked = True
        except BaseException:
            connection.close()
            raise
        return connection

    def _ensure_tables(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new ledger. The folder of answers is made after them, and shows later that there was one."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # no other process was faster
                if os.path.lexists(self.answers) or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    connection.execute("ROLLBACK")
                    raise _damaged("it is gone, and what belongs to it is still here")
                for table in _TABLES:
                    connection.execute(table)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")
        elif version != _VERSION:
            raise _damaged("another version of medfl wrote it")
        self.answers.mkdir(mode=0o700, exist_ok=True)


def _open_empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    for table in _TABLES:
        connection.execute(table)
    return connection


@contextmanager
def translate_ledger_errors() -> Iterator[None]:
    """Turn every failure of the disk or of SQLite into ``LEDGER-DAMAGED``, without the name of a file."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _FULL_CODES:
            raise _full() from None
        reason = "another process has been writing it for too long" if code in _BUSY_CODES else str(type(error).__name__)
        raise _damaged(reason) from None
    except OSError as error:
        if is_disk_full(error):
            raise _full() from None
        raise _damaged(error.strerror or type(error).__name__) from None


def _damaged(reason: str) -> DataError:
    what = f"the record of what this site was asked cannot be read or written: {reason}."
    fix = "Restore the folder 'budget' from a copy, or mend its disk or permissions; until then nothing is answered."
    return DataError("LEDGER-DAMAGED", what, fix)


def _full() -> DataError:
    what = "the disk is full: what this site is asked, or answers, cannot be recorded."
    return DataError("LEDGER-DAMAGED", what, "Free some space; until then nothing is answered.")
