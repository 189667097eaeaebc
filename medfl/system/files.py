"""Files and folders that are complete or absent after a crash, never half written.

`write_file` is the only function of medfl that writes a file under a temporary name and renames it. Two files that belong
together are written with `write_temporary`, then `commit` for each.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medfl.errors import RunError
from medfl.system.locks import take_lock

TEMPORARY_PREFIX = ".tmp-"  # start of the names of folders that are being filled
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ACCESS_ERRNOS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE),
)
_NAME_TAKEN_ERRNOS = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # something else has the name
_MIN_AGE_SECONDS = 60.0  # a younger folder may not be locked yet
_ABANDONED_SECONDS = 3600.0  # no write of a file takes as long
_STALE_SECONDS = 86400.0  # where a file system has no locks, only the age shows that a folder was abandoned


def is_disk_full(error: OSError) -> bool:
    """Return whether a write failed because no space or no quota is left."""
    return error.errno in _DISK_FULL_ERRNOS


@contextmanager
def translate_disk_errors(what: str, then: str = "start the run again; everything complete is kept") -> Iterator[None]:
    """Turn a failure of the disk into a `RunError` that says what could not be written.

    Parameters
    ----------
    what : str
        What is being written, for the message: "the history".
    then : str
        What to do once there is space.

    Raises
    ------
    RunError
        ``DISK-FULL`` when no space or no quota is left, ``RUN-FOLDER`` for every other failure.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise RunError(
                "DISK-FULL", f"the disk is full: {what} cannot be written.", f"Free some space, then {then}."
            ) from None
        reason = error.strerror or type(error).__name__
        raise RunError("RUN-FOLDER", f"{what} cannot be written: {reason}.", "Choose a folder that you may write to.") from None


@contextmanager
def translate_file_errors() -> Iterator[None]:
    """Turn what no other code expected of a file or a folder into a `RunError`, without the name of the file.

    Raises
    ------
    RunError
        ``DISK-FULL``, ``RUN-FOLDER`` when something cannot be written, ``FILE-MISSING`` when something is not there.
    """
    try:
        yield
    except FileNotFoundError:
        what = "a file or folder that this command needs is not there."
        raise RunError("FILE-MISSING", what, "Check the paths of the command, its settings and TMPDIR.") from None
    except OSError as error:
        if error.errno not in (*_DISK_FULL_ERRNOS, *_NO_ACCESS_ERRNOS):
            raise
        with translate_disk_errors("a file of this command", "give the same command again"):
            raise


def write_file(
    path: Path,
    content: bytes | Sequence[bytes | memoryview],
    *,
    private: bool = False,
    durable: bool = True,
    replace: bool = True,
) -> None:
    """Write a whole file: a reader sees the old content or the new one. Several processes may write the same file at once.

    Parameters
    ----------
    path : Path
        The file, in a folder that exists.
    content : bytes or sequence of bytes or memoryview
        All of its content; parts are written one after the other, and not copied together.
    private : bool
        Let only the owner read it, from its first moment (mode 0600).
    durable : bool
        Return only when the file would survive a loss of power.
    replace : bool
        Replace an older file. Otherwise raise FileExistsError and leave the older one.

    Raises
    ------
    OSError
        When the system refuses. The older file is unchanged then, and no temporary file is left.
    """
    if private:
        _remove_abandoned(path)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # not the process id, which containers can share
    try:
        _write_new(fresh, content, private, durable)
        if replace:
            fresh.replace(path)
        else:
            os.link(fresh, path)
        if durable:
            sync_folder(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def write_private(path: Path, content: bytes, what: str = "the report") -> Path:
    """Write a file that only its owner may read, and make its folder; a failure is reported for a person at the command line.

    Parameters
    ----------
    path, content
        As in `write_file`.
    what : str
        What is being written, for the message.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``.
    """
    with translate_disk_errors(what, "give the same command again"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content, private=True)
    return path


def write_json(path: Path, values: object) -> None:
    """Write a compact JSON file with `write_file`."""
    write_file(path, json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


@contextmanager
def private_files() -> Iterator[None]:
    """Let only the owner read what this process and those that it starts make from now on, until the end of the block."""
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)


def read_json(path: str | Path) -> dict[str, Any] | None:
    """Return the object that a JSON file holds, or None when the file is missing or damaged."""
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def temporary_path(path: Path) -> Path:
    """Return the temporary name that `write_temporary` uses for a file."""
    return path.with_name(f".{path.name}.tmp")


def write_temporary(path: Path, content: bytes) -> None:
    """Write the content under the temporary name and wait until the disk has it; on failure leave nothing behind."""
    fresh = temporary_path(path)
    fresh.unlink(missing_ok=True)
    try:
        _write_new(fresh, content, private=False, durable=True)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def commit(path: Path) -> None:
    """Rename a file that `write_temporary` wrote to its own name, replacing an older one."""
    temporary_path(path).replace(path)
    sync_folder(path.parent)


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for its owner alone; of these, mkdir would let others read some."""
    for each in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        each.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to, but not read
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cut_torn_line(descriptor: int) -> int:
    """Cut off an incomplete last line of an open file, which a crash left, and return the number of its bytes."""
    size = complete = os.fstat(descriptor).st_size
    block = 1  # a file that ends with a complete line needs no more
    while complete > 0:
        tail = os.pread(descriptor, min(block, complete), complete - min(block, complete))
        if (newline := tail.rfind(b"\n")) >= 0:
            complete += newline + 1 - len(tail)
            break
        complete -= len(tail)
        block = 1 << 16
    if complete != size:
        os.ftruncate(descriptor, complete)
    return size - complete


@contextmanager
def temporary_folder(path: Path) -> Iterator[None]:
    """Make a folder that is locked while it is filled, and remove it afterwards unless it was renamed."""
    descriptor = -1
    try:
        path.mkdir(mode=0o700)
        descriptor = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network drives have no locks
            take_lock(descriptor)
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def remove_stale(folder: Path) -> None:
    """Remove what killed processes left in a folder: temporary folders that nobody has locked, and old temporary files."""
    for entry in os.listdir(folder):
        if not (entry.startswith(TEMPORARY_PREFIX) or entry.endswith(".tmp")):
            continue
        path = folder / entry
        with contextlib.suppress(OSError):
            age = time.time() - path.stat().st_mtime
            if path.is_dir():
                if age > _STALE_SECONDS or (age > _MIN_AGE_SECONDS and _is_abandoned(path)):
                    shutil.rmtree(path)
            elif age > _STALE_SECONDS:
                path.unlink()


def rename_if_free(source: Path, target: str) -> bool:
    """Rename a folder and return True, or return False when the new name is taken."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in _NAME_TAKEN_ERRNOS:
            raise
        return False
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove what killed processes left of a file: old temporary files of its name."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()


def _write_new(path: Path, content: bytes | Sequence[bytes | memoryview], private: bool, durable: bool) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "wb") as file:
        file.writelines((content,) if isinstance(content, bytes) else content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _is_abandoned(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return take_lock(descriptor)
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
