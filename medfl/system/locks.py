"""Locks on files: one process at a time; a process that dies lets go."""

from __future__ import annotations

import fcntl
from typing import IO


def take(file: IO[str], *, shared: bool = False) -> bool:
    """Take the lock of an open file and return True, or False when another process holds it.

    It is held until the file is closed.

    Parameters
    ----------
    file : file object
        Opened for writing.
    shared : bool
        Together with others who take it so, as one who only looks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
