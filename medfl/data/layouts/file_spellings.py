"""Spellings of file names: what a table calls a file, and what a file system calls it after a copy from another system."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from medfl.data.spelling import fold_name


def compose(name: str) -> str:
    """Return a name in the composed form of Unicode (NFC), which tables have; macOS stores the other one."""
    return unicodedata.normalize("NFC", name)


def find_spelling(path: Path, fold: Callable[[str], str]) -> Path | None:
    """Return the one existing file or folder whose path is the same after `fold`, part by part.

    Parameters
    ----------
    path : Path
        As it is listed.
    fold : callable
        What does not count in a name: `compose`, or `medfl.data.spelling.fold_name`.
    """
    if os.path.lexists(path):
        return path
    folder = find_spelling(path.parent, fold) if path.parent != path else None
    if folder is None:
        return None
    try:
        found = _names_by_spelling(folder, os.stat(folder).st_mtime_ns, fold).get(fold(path.name), [])
    except (OSError, ValueError):
        return None
    return folder / found[0] if len(found) == 1 else None


def find_table(root: Path, name: str) -> Path:
    """Return where a table of a data folder is, whatever the capitals of its name; where it would be if there is none."""
    return find_spelling(root / name, fold_name) or root / name


@lru_cache(maxsize=256)
def _names_by_spelling(folder: Path, _changed: int, fold: Callable[[str], str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for name in os.listdir(folder):
        names[fold(name)].append(name)
    return dict(names)
