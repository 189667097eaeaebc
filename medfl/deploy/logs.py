"""Logs of the processes that a server or a site runs: for their owner alone, and never larger than twice a limit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST = 50_000_000  # bytes


@contextmanager
def appending(path: Path) -> Iterator[int]:
    """Open a log for a process to append to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def trim(path: Path) -> None:
    """Put what a log holds aside as ``NAME.1`` once it has grown large, while its process goes on appending to it."""
    try:
        if path.stat().st_size <= _MOST:
            return
        aside = path.with_name(f"{path.name}.1")
        aside.unlink(missing_ok=True)
        with path.open("rb") as old, appending(aside) as descriptor, open(descriptor, "wb", closefd=False) as copy:
            shutil.copyfileobj(old, copy)
        os.truncate(path, 0)
    except OSError:  # gone, or no room for the copy: the process must go on, and the next look tries again
        return
