"""The index of a data folder: what each file is, read once and remembered as long as the file does not change."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from medfl.data.index.database import IndexDatabase
from medfl.data.index.file_facts import FileFacts, IndexedFile, may_be_dicom
from medfl.data.index.parallel_reading import read_file_facts
from medfl.data.index.walk import FileStat, SkippedFolders, stat_file, walk_files
from medfl.data.store.cache_key import site_root
from medfl.errors import DataError
from medfl.site import Site

Progress = Callable[[int, int], None]  # files read, files to read

_SAVE_INTERVAL = 2.0  # seconds between two writings: an interrupted run loses no more
_SETTLED = 2_000_000_000  # ns; a file younger than this could change again within the clock's grain


class FileIndex:
    """What the files of a site's data folder are. To be used in a ``with`` statement.

    Nothing is opened before it is asked for, so that a folder without DICOM costs nothing.

    Parameters
    ----------
    site : Site
        Names the data folder and the store.
    progress : callable, optional
        Called with (files read, files to read) while files are opened.
    """

    def __init__(self, site: Site, progress: Progress | None = None) -> None:
        self._site, self._progress = site, progress
        self._start = os.fspath(site.root).rstrip(os.sep) + os.sep
        self._database: IndexDatabase | None = None
        self._known: dict[bytes, tuple[tuple[int, int, int], FileFacts]] | None = None
        self._trees: dict[Path, list[IndexedFile]] = {}
        self._items: dict[Path, IndexedFile] = {}
        self.opened_count = 0  # files that had to be opened
        self.skipped = SkippedFolders()  # what its walks could not look into

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._database:
            self._database.close()

    @property
    def database(self) -> IndexDatabase:
        """The file, opened on first use."""
        if self._database is None:
            self._database = IndexDatabase(site_root(self._site), self._site.root)
        return self._database

    @property
    def problem(self) -> DataError | None:
        """Why nothing can be remembered; None while all is well."""
        return self._database.problem if self._database else None

    def tree(self, folder: Path) -> list[IndexedFile]:
        """Return all files below a folder that are or may be DICOM, in a fixed order.

        Raises
        ------
        OSError
            When a folder cannot be listed.
        """
        return self.trees([folder])[folder]

    def trees(self, folders: Sequence[Path]) -> dict[Path, list[IndexedFile]]:
        """Return the same for several folders, whose new files are opened in one go.

        Raises
        ------
        OSError
            When a folder cannot be listed.
        """
        missing = [folder for folder in dict.fromkeys(folders) if folder not in self._trees]
        if not missing:
            return {folder: self._trees[folder] for folder in folders}
        found = {folder: self._candidates(walk_files(folder, self.skipped)) for folder in missing}
        self._read_new([file for listed in found.values() for file in listed.items()])
        self._trees |= {folder: self._make_items(listed) for folder, listed in found.items()}
        self._forget_missing(missing, {name for listed in found.values() for name in listed})
        return {folder: self._trees[folder] for folder in folders}

    def prefetch(self, paths: Iterable[Path]) -> None:
        """Open what is new of these files and folders in one go, so that asking for each is quick.

        Raises
        ------
        OSError
            When a folder cannot be listed.
        """
        wanted = dict.fromkeys(paths)
        self.trees([path for path in wanted if path.is_dir()])
        singles = [stat_file(path) for path in wanted if path not in self._trees]
        self._items |= {item.path: item for item in self.identify(singles)}

    def get(self, path: Path) -> IndexedFile | None:
        """Return one file, or None when it is not DICOM."""
        if path not in self._items:
            self.prefetch([path])
        return self._items.get(path)

    def identify(self, listed: Iterable[FileStat]) -> list[IndexedFile]:
        """Return what the files are that may be DICOM; those that are new or have changed are opened."""
        candidates = self._candidates(listed)
        self._read_new(list(candidates.items()))
        return self._make_items(candidates)

    def _candidates(self, listed: Iterable[FileStat]) -> dict[bytes, FileStat]:
        return {self._relative(file.path): file for file in listed if may_be_dicom(file.path)}

    def _make_items(self, candidates: Mapping[bytes, FileStat]) -> list[IndexedFile]:
        rows = self._rows() if candidates else {}
        return [IndexedFile(file.path, row) for name, file in candidates.items() if (row := rows[name][1]).kind != "other"]

    def _rows(self) -> dict[bytes, tuple[tuple[int, int, int], FileFacts]]:
        if self._known is None:
            self._known = self.database.read_files()
        return self._known

    def _read_new(self, candidates: Sequence[tuple[bytes, FileStat]]) -> None:
        """Open what is new; what is found out is written now and then, so that an interrupted run goes on where it was."""
        if not candidates:
            return
        rows, waiting, written, done = self._rows(), [], time.monotonic(), 0
        fresh = [(name, file) for name, file in candidates if (known := rows.get(name)) is None or known[0] != file.stamp]
        try:
            for batch in read_file_facts([file.path for _, file in fresh]):
                for place, row in batch:
                    name, file = fresh[place]
                    rows[name] = file.stamp, row
                    if _is_settled(file, row):
                        waiting.append((name, file.stamp, row))
                done += len(batch)
                self.opened_count += len(batch)
                if self._progress:
                    self._progress(done, len(fresh))
                if time.monotonic() - written > _SAVE_INTERVAL:
                    self.database.save_files(waiting)
                    waiting, written = [], time.monotonic()
        finally:
            self.database.save_files(waiting)

    def _forget_missing(self, folders: Sequence[Path], present: set[bytes]) -> None:
        walked = {b"" if folder == self._site.root else self._relative(os.fspath(folder)) for folder in folders}
        gone = [name for name in self._rows() if name not in present and _is_below(name, walked)]
        for name in gone:
            del self._rows()[name]
        self.database.delete_files(gone)

    def _relative(self, path: str) -> bytes:
        return os.fsencode(path.removeprefix(self._start))


def _is_below(name: bytes, folders: set[bytes]) -> bool:
    while name and name not in folders:
        name = os.path.dirname(name)
    return name in folders


def _is_settled(file: FileStat, row: FileFacts) -> bool:
    """Return whether what was found out may be kept: the file could be opened, and does not change just now."""
    return row.kind != "unopened" and time.time_ns() - max(file.changed, file.touched) >= _SETTLED
