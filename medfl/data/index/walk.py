"""Walks of a folder, fast over a network too: one listing per folder, one stat per file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from medfl.data.index.prediction_folders import ABOUT_FILE, holds_predictions

DICOMDIR_NAME = "dicomdir"  # casefolded name of the directory of a DICOM medium (PS3.10)
_HIDDEN_PREFIXES = (".", "__MACOSX")
# casefolded names of what Windows and network drives create
_SYSTEM_NAMES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information")


@dataclass(frozen=True, slots=True)
class FileStat:
    """Size and times of one file. They never leave the site.

    Parameters
    ----------
    path : str
        Absolute path.
    size : int
        Bytes; -1 when it is unknown, as for a broken link, or what is no file, as a pipe: it must not be opened.
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
    """What walks of a data folder passed over, each once however often it is walked. It never leaves the site.

    Parameters
    ----------
    root : str or Path, optional
        The data folder: a link to a file is used only if it leads to a place below it. By default the walked folder.

    Attributes
    ----------
    closed : set of str
        Folders that this user may not open.
    links : set of str
        Links to folders, which are not followed.
    outside : set of str
        Links to files outside of the data folder.
    broken : set of str
        Links that lead nowhere, or in circles.
    repeated : set of str
        Links to files that the same walk meets at their own place.
    special : set of str
        Pipes, sockets and devices, and links to them.
    hidden : set of str
        Files and folders that are hidden, or that an operating system made.
    predictions : set of str
        Folders of predictions that medfl wrote.
    """

    def __init__(self, root: str | Path = "") -> None:
        self.root = os.path.realpath(root) if root else ""
        self.closed: set[str] = set()
        self.links: set[str] = set()
        self.outside: set[str] = set()
        self.broken: set[str] = set()
        self.repeated: set[str] = set()
        self.special: set[str] = set()
        self.hidden: set[str] = set()
        self.predictions: set[str] = set()

    def add(self, other: SkippedFolders) -> None:
        """Add what another walk passed over."""
        for name in ("closed", "links", "outside", "broken", "repeated", "special", "hidden", "predictions"):
            getattr(self, name).update(getattr(other, name))


def walk_entries(folder: str | Path, skipped: SkippedFolders | None = None) -> Iterator[os.DirEntry[str]]:
    """Walk the regular files below a folder in a fixed order, without hidden ones and those that macOS and Windows create.

    Links to folders are not followed: they may lead outside, or in circles. A link to a file counts as that file, unless it
    leads out of the data folder or the walk meets the file at its own place. Pipes, sockets and devices are passed over: who
    opens one may wait forever. Predictions that medfl wrote are no data.

    Parameters
    ----------
    folder : str or Path
        Folder to begin with.
    skipped : SkippedFolders, optional
        Collects what is passed over, for the caller to report. Without it, a folder that may not be opened is an error.

    Raises
    ------
    OSError
        When a folder cannot be listed, as its patients would be missing unnoticed. A failing disk or network always raises,
        because then nobody knows how much is missing.
    """
    start = os.path.realpath(folder)
    noted = skipped if skipped is not None else SkippedFolders()
    waiting = [os.fspath(folder)]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except PermissionError:
            if skipped is None:
                raise
            noted.closed.add(path)
            continue
        if any(entry.name == ABOUT_FILE for entry in entries) and holds_predictions(path):
            noted.predictions.add(path)
            continue
        folders = []
        for entry in entries:
            if is_hidden(entry.name):
                noted.hidden.add(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False) or _passes(entry, start, noted):
                yield entry
        waiting += reversed(folders)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that macOS and Windows create, by its name."""
    return name.startswith(_HIDDEN_PREFIXES) or name.casefold() in _SYSTEM_NAMES


def is_below(path: str, folder: str) -> bool:
    """Return whether a path lies below a folder, both without links."""
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _passes(entry: os.DirEntry[str], start: str, noted: SkippedFolders) -> bool:
    """Return whether a walk gives what is neither a folder nor a regular file; note why if it does not."""
    if not entry.is_symlink():
        noted.special.add(entry.path)
        return False
    try:
        kind = entry.stat().st_mode
        real = os.path.realpath(entry.path)
    except (OSError, ValueError):  # it leads nowhere, or in circles
        noted.broken.add(entry.path)
        return False
    if S_ISDIR(kind):
        noted.links.add(entry.path)
    elif not is_below(real, noted.root or start):
        noted.outside.add(entry.path)
    elif not S_ISREG(kind):
        noted.special.add(entry.path)
    elif is_below(real, start) and not any(map(is_hidden, real[len(start) :].split(os.sep))):
        noted.repeated.add(entry.path)
    else:
        return True
    return False


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
        found = entry.stat()
    except (OSError, ValueError):
        return FileStat(os.fspath(entry), -1, 0, 0)
    size = found.st_size if S_ISREG(found.st_mode) else -1
    return FileStat(os.fspath(entry), size, found.st_mtime_ns, found.st_ctime_ns)


def is_dicomdir(path: str) -> bool:
    """Return whether a file is the directory of a DICOM medium, by its name."""
    return os.path.basename(path).casefold() == DICOMDIR_NAME
