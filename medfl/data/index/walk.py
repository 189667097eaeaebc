"""Walking a folder of files, also over a network: one listing a folder, one look at the dates of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DICOMDIR_NAME = "dicomdir"  # casefolded name of the table of contents of a DICOM disc
_SYSTEM_FILES = ("Thumbs.db", "desktop.ini")
_SKIPPED_PREFIXES = (".", "__MACOSX")  # beginnings of names


@dataclass(frozen=True, slots=True)
class FileStat:
    """One file and when it changed. Local only.

    Parameters
    ----------
    path : str
        Absolute.
    size : int
        Bytes; -1 when nobody can tell, as of a link that leads nowhere.
    changed, touched : int
        When the content and when the entry of the file system changed, ns; the latter cannot be set by hand, so it tells a
        replacement that kept size and date.
    """

    path: str
    size: int
    changed: int
    touched: int

    @property
    def stamp(self) -> tuple[int, int, int]:
        """What differs when the file has changed."""
        return self.size, self.changed, self.touched


class SkippedFolders:
    """What a walk could not look into, told once however often a folder is walked. Local only.

    Attributes
    ----------
    closed : set of str
        Folders that this account may not open.
    links : set of str
        Links to folders, which are not followed.
    """

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.links: set[str] = set()


def walk_entries(folder: str | Path, passed: SkippedFolders | None = None) -> Iterator[os.DirEntry[str]]:
    """Walk the files below a folder in a fixed order, without hidden ones and what macOS and Windows leave behind.

    Links to folders are not followed: they may lead out, or in circles.

    Parameters
    ----------
    folder : str or Path
        Where to begin.
    passed : SkippedFolders, optional
        Takes what is passed over, for the caller to tell. Without it, a folder that may not be opened is an error.

    Raises
    ------
    OSError
        When a folder cannot be listed: its patients would be missing without a word. A disk or network that fails is always
        one, for then nobody knows how much is missing.
    """
    waiting = [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as listing:
                here = sorted(listing, key=lambda entry: entry.name)
        except PermissionError:
            if passed is None:
                raise
            passed.closed.add(place)
            continue
        folders = [entry for entry in here if _is_folder(entry)]
        if passed is not None:
            passed.links |= {
                entry.path for entry in folders if entry.is_symlink() and not entry.name.startswith(_SKIPPED_PREFIXES)
            }
        waiting += [entry.path for entry in reversed(folders) if _may_enter(entry)]
        inside = {entry.name for entry in folders}
        yield from (e for e in here if e.name not in inside and not e.name.startswith(".") and e.name not in _SYSTEM_FILES)


def walk_files(folder: str | Path, passed: SkippedFolders | None = None) -> Iterator[FileStat]:
    """Walk the files below a folder with their sizes and dates, as `entries` does.

    Raises
    ------
    OSError
        When a folder cannot be listed.
    """
    return (stat_file(entry) for entry in walk_entries(folder, passed))


def stat_file(entry: os.DirEntry[str] | Path) -> FileStat:
    """Return a file with its size and dates."""
    try:
        facts = entry.stat()
    except (OSError, ValueError):
        return FileStat(os.fspath(entry), -1, 0, 0)
    return FileStat(os.fspath(entry), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def is_dicomdir(path: str) -> bool:
    """Return whether a file is the table of contents of a DICOM disc, by its name."""
    return os.path.basename(path).casefold() == DICOMDIR_NAME


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _may_enter(entry: os.DirEntry[str]) -> bool:
    return not entry.is_symlink() and not entry.name.startswith(_SKIPPED_PREFIXES)
