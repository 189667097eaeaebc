"""Content digests of source files, remembered so that an unchanged file is read once only."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import time
from pathlib import Path

from medfl.system.files import read_json, write_json

_SETTLED = 2_000_000_000  # ns; a file younger than this could change again within the clock's grain
_MAX_UNUSED_DAYS = 180  # without use, after which a digest is forgotten
_ENTRY_TYPES = [int, str, str, int]  # an entry: bytes, digest of the times of change, digest of the content, day of last use


class DigestCache:
    """SHA-256 of files, cached by (keyed hash of the paths, sizes, times of change).

    A series counts as one: a site with a million slices has some thousand entries.

    Parameters
    ----------
    file : Path
        JSON file of the cache. When it is missing or damaged, files are simply read again.
    secret : bytes
        The site's secret: paths can hold names, so only their keyed hashes are kept.
    """

    def __init__(self, file: Path, secret: bytes) -> None:
        self._file, self._secret = file, secret
        self._known = _read_cache(file)
        self._new: dict[str, list[int | str]] = {}  # not yet handed out by `pop_new`
        self._today = int(time.time() // 86400)

    def get(self, *paths: Path) -> str:
        """Return the SHA-256 of a file's content, or of the digests of several files in their order, in hexadecimal.

        Raises
        ------
        OSError
            When a file cannot be read.
        """
        name = self._entry_key(paths)
        size, stamp, youngest = _stamp(paths)
        known = self._known.get(name)
        if known is None or known[:2] != [size, stamp]:
            known = [size, stamp, _compute_digest(paths), 0]
        if known[3] != self._today:
            known[3] = self._today
            self._known[name] = known
            if time.time_ns() - youngest >= _SETTLED:  # else good for this run, not to be remembered
                self._new[name] = known
        return str(known[2])

    def pop_new(self) -> dict[str, list[int | str]]:
        """Return the new digests since the last call, for the process that writes the cache."""
        fresh, self._new = self._new, {}
        return fresh

    def merge(self, fresh: dict[str, list[int | str]]) -> None:
        """Take in the new digests of another process."""
        self._known |= fresh
        self._new |= fresh

    def save(self) -> None:
        """Write the cache if it has changed; a store that cannot be written costs time only."""
        fresh = self.pop_new()
        if not fresh:
            return
        entries = _read_cache(self._file) | fresh  # another process may have written since
        kept = {name: facts for name, facts in entries.items() if self._today - int(facts[3]) <= _MAX_UNUSED_DAYS}
        with contextlib.suppress(OSError):
            write_json(self._file, kept)

    def _entry_key(self, paths: tuple[Path, ...]) -> str:
        joined = b"\0".join(os.fsencode(os.path.abspath(path)) for path in paths)
        return hmac.digest(self._secret, joined, "sha256").hex()[:32]


def _stamp(paths: tuple[Path, ...]) -> tuple[int, str, int]:
    """Return the bytes of all files, a digest of when each changed, and when the youngest did (ns)."""
    times: list[int] = []
    facts_of_all: list[int] = []
    size = 0
    for path in paths:
        facts = os.stat(path)
        size += facts.st_size
        # the inode's change time cannot be set by hand: it reveals a replacement that kept size and date; the inode itself
        # reveals another file with the same times, as when two folders are swapped
        times += [facts.st_mtime_ns, facts.st_ctime_ns]
        facts_of_all += [facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
    return size, hashlib.sha256(repr(facts_of_all).encode()).hexdigest()[:32], max(times, default=0)


def _compute_digest(paths: tuple[Path, ...]) -> str:
    digests = []
    for path in paths:
        with open(path, "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _read_cache(file: Path) -> dict[str, list[int | str]]:
    values = read_json(file) or {}
    return {name: facts for name, facts in values.items() if isinstance(facts, list) and list(map(type, facts)) == _ENTRY_TYPES}
