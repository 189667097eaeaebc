"""Files for the eyes of the site alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from medfl.system.files import sync_folder, translate_disk_errors


def write_private(path: Path, content: bytes, what: str = "the report") -> Path:
    """Write a whole file durably that only its owner may read, replacing an older one; its folder is made.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes
        What it is to hold.
    what : str
        What it is, for the message.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``; nothing is left of it.
    """
    with translate_disk_errors(what, "give the same command again"):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # two commands may write the same file
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            sync_folder(path.parent)
        finally:
            fresh.unlink(missing_ok=True)
    return path
