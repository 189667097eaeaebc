"""Files and folders that are there whole or not at all, for the owner's eyes only."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medfl.errors import DataError

TEMPORARY_PREFIX = ".tmp-"  # begin of the names of folders that are being written
_NAME_TAKEN_ERRNOS = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # something else has the name
_MIN_AGE_SECONDS = 60.0  # a younger folder may not be locked yet
_STALE_SECONDS = 86400.0  # where locks are not kept, age alone tells


def make_private_folder(folder: Path) -> None:
    """Make a folder of mode 0700 unless it is there, and those above it that are missing.

    Raises
    ------
    DataError
        ``STORE-UNWRITABLE``.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unwritable_error(error) from None


def unwritable_error(error: OSError) -> DataError:
    """Return the error of a store that cannot be written; the system's own text holds the path."""
    what = f"the store of prepared data cannot be written ({type(error).__name__})."
    return DataError("STORE-UNWRITABLE", what, "Check its folder, or name another as resources.store in the site.toml.")


@contextmanager
def temporary_folder(path: Path) -> Iterator[None]:
    """Make a folder that is locked while it is being filled, and take it away afterwards unless it was renamed."""
    descriptor = -1
    try:
        path.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network drives keep no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def remove_stale(folder: Path) -> None:
    """Remove what killed processes left behind: folders that nobody holds locked, and old temporary files."""
    for entry in os.listdir(folder):
        if not (entry.startswith(TEMPORARY_PREFIX) or entry.endswith(".tmp")):
            continue
        left = folder / entry
        with contextlib.suppress(OSError):
            age = time.time() - left.stat().st_mtime
            if left.is_dir():
                if age > _STALE_SECONDS or (age > _MIN_AGE_SECONDS and _is_abandoned(left)):
                    shutil.rmtree(left)
            elif age > _STALE_SECONDS:
                left.unlink()


def _is_abandoned(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody is at work, or nobody can tell
        return False
    finally:
        os.close(descriptor)
    return True


def rename_if_free(source: Path, target: str) -> bool:
    """Give a folder its name, unless something else has it."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in _NAME_TAKEN_ERRNOS:
            raise
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(file: Path, values: object) -> None:
    """Write a JSON file under a temporary name, flush it to the disk and rename it, so that no reader sees a part of it."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")  # two containers may share a number
    try:
        with open(fresh, "w", encoding="utf-8") as out:
            json.dump(values, out, sort_keys=True, separators=(",", ":"))
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def read_json(path: str | Path) -> dict[str, Any] | None:
    """Return the table of a JSON file, or nothing when it is missing or damaged."""
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
