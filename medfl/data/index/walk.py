"""Walks of a folder, fast over a network too: one listing per folder, one stat per file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DICOMDIR_NAME = "dicomdir"  # casefolded name of the directory of a DICOM medium (PS3.10)
_SYSTEM_FILES = ("Thumbs.db", "desktop.ini")
_SKIPPED_PREFIXES = (".", "__MACOSX")  # of folder names


@dataclass(frozen=True, slots=True)
class FileStat:
    """Size and times of one file. They never leave the site.

    Parameters
    ----------
    path : str
        Absolute path.
    size : int
        Bytes; -1 when it is unknown, as for a broken link.
    mtime, ctime : int
        Time of the last change of the content and of the inode, ns; the latter cannot be set by hand, so it shows a
        replacement with the same size and date.
    """

    path: str
    size: int
    mtime: int
    ctime: int

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Values of which at least one differs when the file has changed."""
        return self.size, self.mtime, self.ctime


class SkippedFolders:
    """Folders that a walk could not enter, each once however often it is walked. They never leave the site.

    Attributes
    ----------
    closed : set of str
        Folders that this user may not open.
    links : set of str
        Links to folders, which are not followed.
    """

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.links: set[str] = set()


def walk_entries(folder: str | Path, skipped: SkippedFolders | None = None) -> Iterator[os.DirEntry[str]]:
    """Walk the files below a folder in a fixed order, without hidden files and those that macOS and Windows create.

    Links to folders are not followed: they may lead outside, or in circles.

    Parameters
    ----------
    folder : str or Path
        Folder to begin with.
    skipped : SkippedFolders, optional
        Collects the skipped folders, for the caller to report. Without it, a folder that may not be opened is an error.

    Raises
    ------
    OSError
        When a folder cannot be listed, as its patients would be missing unnoticed. A failing disk or network always raises,
        because then nobody knows how much is missing.
    """
    waiting = [os.fspath(folder)]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except PermissionError:
            if skipped is None:
                raise
            skipped.closed.add(path)
            continue
        folders = [entry for entry in entries if _is_folder(entry)]
        if skipped is not None:
            skipped.links |= {
                entry.path for entry in folders if entry.is_symlink() and not entry.name.startswith(_SKIPPED_PREFIXES)
            }
        waiting += [entry.path for entry in reversed(folders) if _may_enter(entry)]
        folder_names = {entry.name for entry in folders}
        yield from (
            e for e in entries if e.name not in folder_names and not e.name.startswith(".") and e.name not in _SYSTEM_FILES
        )


def walk_files(folder: str | Path, skipped: SkippedFolders | None = None) -> Iterator[FileStat]:
    """Walk the files below a folder as `walk_entries` does, with their sizes and times.

    Raises
    ------
    OSError
        When a folder cannot be listed.
    """
    return (stat_file(entry) for entry in walk_entries(folder, skipped))


def stat_file(entry: os.DirEntry[str] | Path) -> FileStat:
    """Return a file with its size and times."""
    try:
        stat = entry.stat()
    except (OSError, ValueError):
        return FileStat(os.fspath(entry), -1, 0, 0)
    return FileStat(os.fspath(entry), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def is_dicomdir(path: str) -> bool:
    """Return whether a file is the directory of a DICOM medium, by its name."""
    return os.path.basename(path).casefold() == DICOMDIR_NAME


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _may_enter(entry: os.DirEntry[str]) -> bool:
    return not entry.is_symlink() and not entry.name.startswith(_SKIPPED_PREFIXES)
