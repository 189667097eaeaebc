"""Parts of a series that lie beside the folder which an index names, and cannot be read."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from medfl.data.index.file_facts import IndexedFile
from medfl.data.index.file_index import FileIndex
from medfl.data.index.walk import FileStat, is_hidden, stat_file
from medfl.data.layouts.missing_parts import ImagePlaces
from medfl.data.layouts.object_sorting import series_key
from medfl.data.layouts.slice_contents import may_be_slice

_MAX_FOLDERS = 50  # folders that no row names, of more of which a file could belong to anything


@dataclass
class PartsBeside:
    """Files beside the folders that an index names, or in a folder beside them that nobody names, which may be missing parts.

    A file is opened only if its name says that it may be one. What lies in one place is looked at once, for all folders there.

    Parameters
    ----------
    index : FileIndex
        Index of the data folder, which has walked every folder that is named.
    """

    index: FileIndex
    stray: int = 0  # files that may belong to a series, or to none, and cost nothing
    _found: dict[Path, dict[str, list[IndexedFile]]] = field(default_factory=dict)  # by the folder above, and by series

    def find(self, folder: Path) -> list[IndexedFile]:
        """Return those that may be missing parts of the series in a folder that is named."""
        above = folder.parent
        if above not in self._found:
            self._found[above] = self._find_all(above)
        if not self._found[above]:
            return []
        series = {series_key(item) for item in self.index.tree(folder)}
        found = [item for key in sorted(series) for item in self._found[above].get(key, ())]
        return list({item.path_text: item for item in found}.values())

    def _find_all(self, above: Path) -> dict[str, list[IndexedFile]]:
        files = self._list_unnamed(above)
        if not files:
            return {}
        trees = self.index.trees(self._named_in[above])
        images = [(item, series_key(item)) for items in trees.values() for item in items if item.kind == "dicom"]
        places = ImagePlaces(images, (file.path for file in files))
        fitting = {file.path: places.find_series(file.path, dicom=False) for file in files}
        named = [file for file in files if fitting[file.path] or places.may_follow(file.path)]
        found: dict[str, list[IndexedFile]] = defaultdict(list)
        for item in self.index.probe(named):
            if item.kind != "dicom" and may_be_slice(item, places):
                self.stray += not fitting[item.path_text]
                for series in fitting[item.path_text]:
                    found[series].append(item)
        return found

    def _list_unnamed(self, above: Path) -> list[FileStat]:
        """Return the files in a folder above those that are named, and in folders there that no row names."""
        named = self._named
        if above not in self._named_in or not named.isdisjoint((above, *above.parents)):
            return []  # outside of the data folder, or its files are told as those of a folder that is named
        folders, files = _list_folder(above)
        unnamed = [path for path in folders if Path(path) not in self._above]
        for path in unnamed if len(unnamed) <= _MAX_FOLDERS else ():
            files += _list_folder(path)[1]
        return sorted(files, key=lambda file: file.path)

    @cached_property
    def _named(self) -> set[Path]:
        return self.index.walked()

    @cached_property
    def _named_in(self) -> dict[Path, list[Path]]:
        """Folders that are named, by the folder above, as far as this lies in the data folder."""
        root, places = self.index.root, defaultdict(list)
        for folder in sorted(self._named):
            if root in folder.parents:
                places[folder.parent].append(folder)
        return dict(places)

    @cached_property
    def _above(self) -> set[Path]:
        """Folders that are named, and all above them."""
        return self._named.union(*(folder.parents for folder in self._named))


def _list_folder(folder: str | Path) -> tuple[list[str], list[FileStat]]:
    """Return the folders and files of a folder; one that cannot be opened is told by the account of files."""
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if not is_hidden(entry.name)]
    except PermissionError:
        return [], []
    folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return folders, [stat_file(entry) for entry in entries if entry.is_file(follow_symlinks=False)]
