"""Silence for libraries: their warnings and errors quote headers, values and paths."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TextIO

from medfl.data import debug
from medfl.errors import DataError
from medfl.system.memory import is_out_of_memory

_LOGGERS = (
    "pydicom",
    "highdicom",
    "nibabel.global",
    "nibabel",
    "PIL",
    "tifffile",
    "pynetdicom",
    "dicomweb_client",
    "urllib3",
    "monai",
)
_IS_ACTIVE: ContextVar[bool] = ContextVar("inside", default=False)  # setting the levels of loggers empties caches of logging


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Hold back every warning and log line of the libraries that read images.

    Where somebody asked for them (`medfl.data.debug`), they go to the local debug file, and so does the error that ends the
    block, with all that it came from. Within another such block it costs next to nothing.
    """
    try:
        if _IS_ACTIVE.get():
            yield
        else:
            with _divert_output():
                yield
    except Exception as error:
        debug.log_error(error)
        raise


@contextmanager
def library_errors_as(make_error: Callable[[], DataError]) -> Iterator[None]:
    """Raise one error instead of whatever a library raises on a damaged file, whose text may quote it.

    Errors of medfl pass, and so does a lack of memory: it is no fault of the file.

    Parameters
    ----------
    make_error : callable
        Returns the error.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise make_error() from None


@contextmanager
def _divert_output() -> Iterator[None]:
    _configure_gdcm()
    token = _IS_ACTIVE.set(True)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    handler = debug.DebugHandler()
    for logger in loggers:
        logger.setLevel(logging.WARNING if debug.is_enabled() else logging.CRITICAL + 1)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always" if debug.is_enabled() else "ignore")
            warnings.showwarning = _log_warning
            yield
    finally:
        _IS_ACTIVE.reset(token)
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    debug.log_text(f"{filename}:{lineno}: {category.__name__}: {message}")


@cache
def _configure_gdcm() -> None:
    """Stop GDCM from printing, and keep it from damaged JPEG 2000: there it ends the process instead of raising an error."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEG2000, JPEG2000Lossless

    try:
        import gdcm
    except ImportError:  # pragma: no cover - gdcm is a dependency, but not built for every platform
        return
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    gdcm.Trace.DebugOff()
    for syntax in (JPEG2000, JPEG2000Lossless):  # pylibjpeg reads it
        decoder = get_decoder(syntax)
        if "gdcm" in decoder.available_plugins:
            decoder.remove_plugin("gdcm")
