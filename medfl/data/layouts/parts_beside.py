"""Parts of a series that lie beside the folder which an index names, and cannot be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medfl.data.index.file_facts import IndexedFile
from medfl.data.index.file_index import FileIndex
from medfl.data.index.walk import FileStat, is_hidden, stat_file
from medfl.data.layouts.missing_parts import ImagePlaces
from medfl.data.layouts.object_sorting import series_key

_MAX_FOLDERS = 50  # folders that no row names, of more of which a file could belong to anything


def find_parts_beside(
    folder: Path, items: Sequence[IndexedFile], index: FileIndex, listed: dict[Path, list[FileStat]]
) -> list[IndexedFile]:
    """Return files beside a folder, or in a folder beside it that nobody names, which may be missing parts of its series.

    A file is opened only if its name says that it may be one.

    Parameters
    ----------
    folder : Path
        Folder that an index names.
    items : sequence of IndexedFile
        Its files.
    index : FileIndex
        Index of the data folder, which has walked every folder that is named.
    listed : dict
        What lies beside a folder, by the folder above; filled here.
    """
    above = folder.parent
    if folder == index.root or index.root not in folder.parents:
        return []
    if above not in listed:
        listed[above] = _list_unnamed(above, index.walked())
    if not listed[above]:
        return []
    images = [(item, series_key(item)) for item in items if item.kind == "dicom"]
    places = ImagePlaces(images, (file.path for file in listed[above]))
    fitting = [file for file in listed[above] if places.find_series(file.path, dicom=False)]
    return [item for item in index.probe(fitting) if item.kind != "dicom"]


def _list_unnamed(above: Path, named: set[Path]) -> list[FileStat]:
    if any(above.is_relative_to(folder) for folder in named):  # its files are told as those of that folder
        return []
    used = {parent for folder in named for parent in (folder, *folder.parents)}
    folders, files = _list_folder(above)
    unnamed = [path for path in folders if Path(path) not in used]
    for path in unnamed if len(unnamed) <= _MAX_FOLDERS else ():
        files += _list_folder(path)[1]
    return sorted(files, key=lambda file: file.path)


def _list_folder(folder: str | Path) -> tuple[list[str], list[FileStat]]:
    """Return the folders and files of a folder; one that cannot be opened is told by the account of files."""
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if not is_hidden(entry.name)]
    except PermissionError:
        return [], []
    folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return folders, [stat_file(entry) for entry in entries if entry.is_file(follow_symlinks=False)]
