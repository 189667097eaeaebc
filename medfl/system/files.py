"""Writing a file so that after a crash it is either the old one or the new one, never half of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medfl.errors import RunError


@contextmanager
def translate_disk_errors(what: str, then: str = "start the run again; what was complete is still there") -> Iterator[None]:
    """Turn a failure of the disk into a `RunError` that says what could not be written.

    Parameters
    ----------
    what : str
        What is being written, for the message: "the history".
    then : str
        What to do once there is room.

    Raises
    ------
    RunError
        ``DISK-FULL`` when there is no room or no quota left, ``RUN-FOLDER`` for every other failure.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunError(
                "DISK-FULL", f"there is no room left on the disk to write {what}.", f"Free some room, then {then}."
            ) from None
        reason = error.strerror or type(error).__name__
        raise RunError("RUN-FOLDER", f"{what} cannot be written: {reason}.", "Choose a folder that you may write to.") from None


def temporary_path(path: Path) -> Path:
    """Return the temporary name that a file is written to before it gets its own."""
    return path.with_name(f".{path.name}.tmp")


def write_temporary(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write the content under the temporary name and wait until the disk has it; on failure leave nothing behind.

    A private file can be read by its owner alone.
    """
    fresh = temporary_path(path)
    fresh.unlink(missing_ok=True)  # an old one could have other rights
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def commit(path: Path) -> None:
    """Give a file that `write_temporary` wrote its name, replacing an older one."""
    temporary_path(path).replace(path)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a whole file durably: temporary name, fsync, rename; `private` is as in `write_temporary`."""
    write_temporary(path, content, private=private)
    try:
        commit(path)
    except OSError:  # a folder of that name, say
        temporary_path(path).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names in a folder; does nothing where folders cannot be opened (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
