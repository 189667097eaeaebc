"""Keeping libraries from printing what they read: their warnings quote headers, values and paths."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_LOGGERS = ("pydicom", "highdicom", "nibabel.global", "nibabel", "PIL")


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back every warning and log line of the libraries that read images."""
    _silence_gdcm()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@cache
def _silence_gdcm() -> None:
    try:
        import gdcm
    except ImportError:  # pragma: no cover - gdcm is a dependency, but not built for every platform
        return
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    gdcm.Trace.DebugOff()
