"""Logs of the processes that a server or a site runs: readable by their owner alone, and never larger than twice a limit."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_LOG_BYTES = 50_000_000
_MAX_BYTES = 4096  # at the end of a log, in which its last words are looked for
_INFORMATION = re.compile(r"\b(INFO|DEBUG)\b")


@contextmanager
def open_for_append(path: Path) -> Iterator[int]:
    """Open a log for a process to append to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def rotate(path: Path) -> None:
    """Move the contents of a log to ``NAME.1`` once it has grown large, while its process goes on appending to it."""
    try:
        if path.stat().st_size <= _MAX_LOG_BYTES:
            return
        rotated = path.with_name(f"{path.name}.1")
        rotated.unlink(missing_ok=True)
        with path.open("rb") as old, open_for_append(rotated) as descriptor, open(descriptor, "wb", closefd=False) as copy:
            shutil.copyfileobj(old, copy)
        os.truncate(path, 0)
    except OSError:  # gone, or no space for the copy: the process must go on, and the next call tries again
        return


def read_last_words(path: Path) -> str:
    """Return the line of a log that says why its program ended, for a person at the same machine; "" when there is none.

    That is the last line that is no mere information: a server still says goodbye after its error.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MAX_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return ""
    filled = [line for line in reversed(lines) if line]
    chosen = next((line for line in filled if not _INFORMATION.search(line)), filled[0] if filled else "")
    return "".join(char for char in chosen if char.isprintable())
