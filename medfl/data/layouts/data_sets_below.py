"""Data sets that lie in a folder below the data folder, where data.root is one folder too high, or two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfl.data.index.walk import is_hidden
from medfl.data.layouts.bids import is_bids
from medfl.data.layouts.bids_names import DESCRIPTION_FILE
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.msd import DATASET_FILE, is_msd
from medfl.errors import DataError
from medfl.site import Site

_MAX_DEPTH = 3  # folders below the data folder
_MAX_FOLDERS = 300  # that are looked into


def data_set_below_error(site: Site) -> DataError | None:
    """Return the error of a data folder without images of its own if a data set lies in a folder below; else None."""
    found = list(_find(site))
    if not found:
        return None
    files = " and ".join(sorted(set(found)))
    if len(found) == 1:
        what = f"the data folder holds no images in a layout that medfl knows, but {files} lies in a folder below."
        return DataError("DATA-LAYOUT", what, "Set data.root in site.toml to the folder that holds it.")
    what = f"the data folder holds no images in a layout that medfl knows, but {len(found)} folders below hold {files}."
    return DataError("DATA-LAYOUT", what, "Set data.root in site.toml to the one that is meant.")


def _find(site: Site) -> Iterator[str]:
    """Yield the files that describe data sets below the data folder, the highest first; nothing is looked for below one."""
    level, looked = [site.root], 0
    for depth in range(_MAX_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            looked += 1
            if looked > _MAX_FOLDERS:
                return
            if file := _describing_file(folder, site) if depth else "":
                yield file
            else:
                below += _list_folders(folder)
        level = below


def _describing_file(folder: Path, site: Site) -> str:
    if is_bids(folder):
        return DESCRIPTION_FILE
    if is_msd(folder):
        return DATASET_FILE
    return site.data.index if find_table(folder, site.data.index).is_file() else ""


def _list_folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir() and not path.is_symlink())
    except OSError:
        return []
