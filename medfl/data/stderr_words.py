"""What libraries in C say while they decode: they write to standard error, past Python, and go on with wrong pixels."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medfl.data import debug

_STDERR = 2
_LOCK = threading.Lock()  # standard error is that of the whole process


@contextmanager
def hold_back_stderr() -> Iterator[bytearray]:
    """Keep off the terminal what is written to standard error in the block; its bytes are there after the block.

    Where somebody asked for it (`medfl.data.debug`), it goes to the local debug file.
    """
    words = bytearray()
    with _LOCK, tempfile.TemporaryFile() as file:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # closed, as for some services
            yield words
            return
        try:
            os.dup2(file.fileno(), _STDERR)
            yield words
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
        file.seek(0)
        words += file.read()
    debug.log_text(words.decode(errors="replace"))
