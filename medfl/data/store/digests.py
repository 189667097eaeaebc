"""Content digests of source files, remembered so that an unchanged file is read once only."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import time
from pathlib import Path

_SETTLED = 2_000_000_000  # ns; a file younger than this could change again within the clock's grain


class Digests:
    """SHA-256 of files, cached by (keyed hash of the path, size, times of change).

    Parameters
    ----------
    file : Path
        JSON file of the cache. When it is missing or damaged, files are simply read again.
    secret : bytes
        The site's secret: paths can hold names, so only their keyed hashes are kept.
    """

    def __init__(self, file: Path, secret: bytes) -> None:
        self._file, self._secret = file, secret
        self._known = _read(file)
        self._changed = False
        self._unsettled: set[str] = set()

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file's content, in hexadecimal.

        Raises
        ------
        OSError
            When the file can not be read.
        """
        name = hmac.digest(self._secret, os.fsencode(os.path.abspath(path)), "sha256").hex()[:32]
        facts = os.stat(path)
        # the inode's change time can not be set by hand: it tells a replacement that kept size and date
        stamp = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
        known = self._known.get(name)
        if known is not None and known[:3] == stamp:
            return str(known[3])
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[name] = [*stamp, digest]
        self._changed = True
        if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) < _SETTLED:
            self._unsettled.add(name)  # good for this run, not to be remembered
        return digest

    def save(self) -> None:
        """Write the cache if it has changed; a store that can not be written costs time only."""
        if self._changed:
            with contextlib.suppress(OSError):
                replace_json(self._file, {k: v for k, v in self._known.items() if k not in self._unsettled})
            self._changed = False


def replace_json(file: Path, values: object) -> None:
    """Write a JSON file under a temporary name, flush it to the disk and rename it, so that no reader sees a part of it."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with open(fresh, "w", encoding="utf-8") as out:
            json.dump(values, out, sort_keys=True, separators=(",", ":"))
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _read(file: Path) -> dict[str, list[int | str]]:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in values.items() if isinstance(v, list) and len(v) == 4} if isinstance(values, dict) else {}
