"""Index of a data folder: what each file is, read once and saved for as long as the file does not change."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from medfl.data.findings import Finding
from medfl.data.index.database import IndexDatabase
from medfl.data.index.file_facts import DICOM_KINDS, FileFacts, IndexedFile, is_archive, may_be_dicom
from medfl.data.index.parallel_reading import read_file_facts
from medfl.data.index.unfinished import is_unfinished
from medfl.data.index.walk import FileStat, SkippedFolders, stat_file, walk_files
from medfl.data.store.cache_key import site_root
from medfl.site import Site

Progress = Callable[[int, int], None]  # files read, files to read

_SAVE_INTERVAL = 2.0  # seconds between two saves: an interrupted run loses no more
_SETTLED = 2_000_000_000  # ns; a younger file could change again within the resolution of its time stamps


class FileIndex:
    """Index of the files of a site's data folder, for use in a ``with`` statement.

    Nothing is opened before it is needed, so that a folder without DICOM costs nothing.

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
        self._unsettled: set[bytes] = set()  # files that may change again without a trace
        self._trees: dict[Path, list[IndexedFile]] = {}
        self._others: dict[Path, list[IndexedFile]] = {}
        self._items: dict[Path, IndexedFile] = {}
        self.opened_count = 0  # files that had to be opened
        self.skipped = SkippedFolders(site.root)  # what its walks passed over

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._database:
            self._database.close()

    @property
    def root(self) -> Path:
        """Data folder of the site."""
        return self._site.root

    @property
    def database(self) -> IndexDatabase:
        """Database of the index, opened on first use."""
        if self._database is None:
            self._database = IndexDatabase(site_root(self._site), self._site.root)
        return self._database

    @property
    def problem(self) -> Finding | None:
        """Why nothing can be saved; None while there is no problem."""
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
        """Return the same for several folders, and open all their new files together.

        Raises
        ------
        OSError
            When a folder cannot be listed.
        """
        missing = [folder for folder in dict.fromkeys(folders) if folder not in self._trees]
        if not missing:
            return {folder: self._trees[folder] for folder in folders}
        walks = {folder: self._walk(folder) for folder in missing}
        self._read_new([file for candidates, _ in walks.values() for file in candidates.items()])
        for folder, (candidates, passed) in walks.items():
            items = [*self._make_items(candidates), *passed]
            self._trees[folder] = [item for item in items if item.kind in DICOM_KINDS]
            self._others[folder] = [item for item in items if item.kind not in DICOM_KINDS]
        self._forget_missing(missing, {name for candidates, _ in walks.values() for name in candidates})
        return {folder: self._trees[folder] for folder in folders}

    def _walk(self, folder: Path) -> tuple[dict[bytes, FileStat], list[IndexedFile]]:
        """Return the files below a folder that have to be opened, and those that are told without."""
        skipped = SkippedFolders(self._site.root)
        files = list(walk_files(folder, skipped))
        self.skipped.add(skipped)
        told = {file.path: "archive" if is_archive(file.path) else "other" for file in files if not may_be_dicom(file.path)}
        for kind, paths in (("unopened", skipped.broken), ("outside", skipped.outside), ("special", skipped.special)):
            told |= {path: kind if may_be_dicom(path) else "other" for path in sorted(paths)}
        told |= {path: "other" for path in sorted(skipped.hidden) if is_unfinished(path)}
        return self._candidates(files), [IndexedFile(path, FileFacts(kind)) for path, kind in told.items()]

    def others(self, folder: Path) -> list[IndexedFile]:
        """Return the files below a folder that are no DICOM, with nothing known of them but their kind."""
        self.trees([folder])
        return self._others[folder]

    def seen(self) -> dict[str, IndexedFile]:
        """Return every file that was looked at so far, by its path."""
        trees = (*self._trees.values(), *self._others.values(), self._items.values())
        return {item.path_text: item for items in trees for item in items}

    def prefetch(self, paths: Iterable[Path]) -> None:
        """Open all new ones among these files and folders together, so that each later look-up is fast.

        Raises
        ------
        OSError
            When a folder cannot be listed.
        """
        paths = list(dict.fromkeys(paths))
        self.trees([path for path in paths if path.is_dir()])
        singles = [stat_file(path) for path in paths if path not in self._trees]
        self._items |= {item.path: item for item in self.identify(singles)}

    def get(self, path: Path) -> IndexedFile | None:
        """Return one file, or None when it is not DICOM."""
        if path not in self._items:
            self.prefetch([path])
        item = self._items.get(path)
        return item if item is not None and item.kind in DICOM_KINDS else None

    def identify(self, files: Iterable[FileStat]) -> list[IndexedFile]:
        """Return those files that are or may be DICOM; open the ones that are new or have changed."""
        return [item for item in self.probe(files) if item.kind in DICOM_KINDS]

    def probe(self, files: Iterable[FileStat]) -> list[IndexedFile]:
        """Return the files that have to be opened to know what they are, whatever they are."""
        candidates = self._candidates(files)
        self._read_new(list(candidates.items()))
        return self._make_items(candidates)

    def walked(self) -> set[Path]:
        """Return the folders that were walked so far."""
        return set(self._trees)

    def _candidates(self, files: Iterable[FileStat]) -> dict[bytes, FileStat]:
        return {self._relative(file.path): file for file in files if may_be_dicom(file.path)}

    def _make_items(self, candidates: Mapping[bytes, FileStat]) -> list[IndexedFile]:
        known = self._known_facts() if candidates else {}
        return [
            IndexedFile(file.path, known[name][1], None if name in self._unsettled else file.stamp)
            for name, file in candidates.items()
        ]

    def _known_facts(self) -> dict[bytes, tuple[tuple[int, int, int], FileFacts]]:
        if self._known is None:
            self._known = self.database.read_files()
        return self._known

    def _read_new(self, candidates: Sequence[tuple[bytes, FileStat]]) -> None:
        """Open new files and save their facts now and then, so that an interrupted run continues where it was."""
        if not candidates:
            return
        known, unsaved, saved_at, done = self._known_facts(), [], time.monotonic(), 0
        new = [(name, file) for name, file in candidates if (entry := known.get(name)) is None or entry[0] != file.stamp]
        for name, file in new:
            if file.size <= 0:  # nothing to read, or nothing that may be opened
                known[name] = file.stamp, FileFacts("unopened" if file.size < 0 else "empty")
        new = [(name, file) for name, file in new if file.size > 0]
        try:
            for batch in read_file_facts([file.path for _, file in new]):
                for index, facts in batch:
                    name, file = new[index]
                    known[name] = file.stamp, facts
                    if _is_settled(file, facts):
                        unsaved.append((name, file.stamp, facts))
                    else:
                        self._unsettled.add(name)
                done += len(batch)
                self.opened_count += len(batch)
                if self._progress:
                    self._progress(done, len(new))
                if time.monotonic() - saved_at > _SAVE_INTERVAL:
                    self.database.save_files(unsaved)
                    unsaved, saved_at = [], time.monotonic()
        finally:
            self.database.save_files(unsaved)

    def _forget_missing(self, folders: Sequence[Path], present: set[bytes]) -> None:
        walked = {b"" if folder == self._site.root else self._relative(os.fspath(folder)) for folder in folders}
        gone = [name for name in self._known_facts() if name not in present and _is_below(name, walked)]
        for name in gone:
            del self._known_facts()[name]
        self.database.delete_files(gone)

    def _relative(self, path: str) -> bytes:
        return os.fsencode(path.removeprefix(self._start))


def _is_below(name: bytes, folders: set[bytes]) -> bool:
    while name and name not in folders:
        name = os.path.dirname(name)
    return name in folders


def _is_settled(file: FileStat, facts: FileFacts) -> bool:
    """Return whether facts may be saved: the file could be opened, and has not changed in the last moments."""
    return facts.kind != "unopened" and time.time_ns() - max(file.mtime, file.ctime) >= _SETTLED
