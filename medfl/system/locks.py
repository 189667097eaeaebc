"""Locks on files: one process at a time holds one, and a process that dies releases it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def take_lock(file: IO[Any] | int, *, shared: bool = False, wait: bool = False) -> bool:
    """Take the lock of an open file and return True, or return False when another process holds it.

    It is held until the file is closed.

    Parameters
    ----------
    file : file object or int
        An open file, or its descriptor; a folder can be locked as well.
    shared : bool
        Share the lock with other processes that take it so; an exclusive holder excludes them all.
    wait : bool
        Wait until the lock is free.

    Raises
    ------
    OSError
        When the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock of a file without content, and hold it; the file is made if it is missing, and stays.

    If it were removed, two processes could lock two different files of the same name.
    """
    with path.open("a") as file:
        take_lock(file, wait=True)
        yield
