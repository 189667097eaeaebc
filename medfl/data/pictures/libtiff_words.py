"""What libtiff says while Pillow decodes: it writes to standard error, and reads on with wrong pixels."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medfl.data import debug
from medfl.data.pictures.integrity import damaged_error

_STDERR = 2
_DAMAGE = re.compile(rb"^(Fax\w*:|JPEGLib: (Corrupt|Premature|Unsupported))", re.MULTILINE)
_LOCK = threading.Lock()  # standard error is that of the whole process


@contextmanager
def damage_by_libtiff() -> Iterator[None]:
    """Hold back what libtiff says in the block, and raise an error at its end if that is of damage.

    Raises
    ------
    DataError
        ``FILE-DAMAGED``.
    """
    with _LOCK, tempfile.TemporaryFile() as file:
        kept = os.dup(_STDERR)
        try:
            os.dup2(file.fileno(), _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
        file.seek(0)
        words = file.read()
    debug.log_text(words.decode(errors="replace"))
    if _DAMAGE.search(words):
        raise damaged_error()
