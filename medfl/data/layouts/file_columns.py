"""Columns of tables that name files."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from medfl.data.layouts.sources import is_image_file, resolve_below
from medfl.errors import DataError

_SAMPLE = 200  # cells of which it is seen whether they are files


def find_kind_of_files(cells: Collection[str], root: Path) -> Literal["image files", "other files"] | None:
    """Return which files most of the different cells of a column name; None where they name none that is there.

    Parameters
    ----------
    cells : collection of str
        The cells.
    root : Path
        Folder that the files lie in.
    """
    names = [name for name in cells if "." in name or "/" in name or "\\" in name]
    if len(names) * 2 < len(cells):
        return None
    sample = names[:: max(1, len(names) // _SAMPLE)]
    found = [name for name in sample if _is_file(root, name)]
    if len(found) * 2 < len(sample):
        return None
    return "image files" if any(map(is_image_file, found)) or not any("." in name for name in found) else "other files"


def _is_file(root: Path, name: str) -> bool:
    try:
        return os.path.exists(resolve_below(root, name))
    except (DataError, OSError, ValueError):
        return False
