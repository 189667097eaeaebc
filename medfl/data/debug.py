"""Local debug file: the original words of libraries, for the site's own eyes, written only when somebody asked for it.

Errors and warnings of libraries quote paths, names and header values, so medfl replaces them by codes. Who has to find out why
a file cannot be read may ask for the originals with `debug_local`; the file is its owner's alone and never leaves.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from medfl.errors import DataError

ENV_VARIABLE = "MEDFL_DEBUG_LOCAL"  # path of the file; the processes that a command starts inherit it


@contextmanager
def debug_local(file: Path) -> Iterator[None]:
    """Write what libraries say inside the block, here and in processes started from here, to the end of a local file.

    Parameters
    ----------
    file : Path
        File to write, of mode 0600, made with its folder if need be. It holds identities of patients: delete it when done.

    Raises
    ------
    DataError
        ``DEBUG-UNWRITABLE``.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _append(file, "")
    except OSError:
        raise DataError("DEBUG-UNWRITABLE", "the local debug file cannot be written.", "Choose another place.") from None
    before = os.environ.get(ENV_VARIABLE)
    os.environ[ENV_VARIABLE] = str(file.absolute())
    try:
        yield
    finally:
        os.environ.pop(ENV_VARIABLE)
        if before is not None:
            os.environ[ENV_VARIABLE] = before


def is_enabled() -> bool:
    """Tell whether somebody asked for what libraries say."""
    return bool(os.environ.get(ENV_VARIABLE))


def log_error(error: BaseException) -> None:
    """Write down an error and all that it came from, with their places in the code, if somebody asked."""
    if not is_enabled():
        return
    parts: list[str] = []
    found: BaseException | None = error  # one by one: printing the chain leaves out what `from None` hides
    while found is not None:
        parts.append("".join(traceback.format_exception(found, chain=False)))
        found = found.__cause__ or found.__context__
    log_text("\ncame from\n".join(parts))


def log_text(text: str) -> None:
    """Write down some text, if somebody asked."""
    if is_enabled():
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            _append(Path(os.environ[ENV_VARIABLE]), f"{stamp} {text.rstrip()}\n\n")
        except OSError:  # what was to be found out must not fail for the sake of a note
            return


class DebugHandler(logging.Handler):
    """Writes down what the loggers of libraries say, if somebody asked."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write down one record."""
        log_text(f"{record.name}: {record.getMessage()}")


def _append(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode(errors="backslashreplace"))
    finally:
        os.close(descriptor)
