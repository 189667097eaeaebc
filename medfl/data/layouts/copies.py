"""Copies: entries whose images are one and the same, whatever paths lead to them."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.layouts.entries import Entry
from medfl.data.spelling import fold_name

_HEAD_BYTES = 65536  # pictures of one size that differ mostly do so in their beginning
_OBJECT = "SOPInstanceUID"


def group_copies(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group entries by the image that they are about, in the order of their first ones.

    DICOM images are the same if their SOP Instance UIDs are, and what is selected of them; other files if they are one file,
    through whatever path or link, and pictures also if their bytes are equal. Copies of volumes in NIfTI are found when they
    are read, because all of them would have to be read for it.

    Parameters
    ----------
    entries : sequence of Entry
        Entries of a site.
    """
    files = {path: _file_id(path) for entry in entries for path in _plain_paths(entry)}
    pictures = [path for entry in entries if _kind(entry) == "image" for path in _plain_paths(entry)]
    ids: dict[Path, Hashable] = {**files, **_digest_equal_sizes({path: files[path] for path in pictures})}
    groups: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[_image_id(entry, ids)].append(entry)
    return list(groups.values())


def same_label(entries: Iterable[Entry]) -> bool:
    """Return whether entries have the same label: the same text, or masks of which the files are equal."""
    labels = {fold_name(entry.label) if isinstance(entry.label, str) else entry.label for entry in entries}
    if len(labels) > 1 and all(isinstance(label, Source) for label in labels):
        return len({tuple(map(_digest, label.paths)) for label in labels if isinstance(label, Source)}) == 1
    return len(labels) == 1


def _kind(entry: Entry) -> str:
    return entry.image.kind if isinstance(entry.image, Source) else ""


def _plain_paths(entry: Entry) -> tuple[Path, ...]:
    return entry.image.paths if isinstance(entry.image, Source) and entry.image.kind != "dicom" else ()


def _image_id(entry: Entry, ids: Mapping[Path, Hashable]) -> Hashable:
    if not isinstance(entry.image, Source):
        return entry.key
    if entry.image.kind == "dicom":
        return frozenset(file.text("SOPInstanceUID") or file.path_text for file in entry.image.files), entry.image.select
    return tuple(ids[path] for path in entry.image.paths)


def _file_id(path: Path) -> tuple[Hashable, ...]:
    """Return what is the same for all names of one file, and its size; its path when it cannot be found."""
    try:
        facts = os.stat(path)
    except OSError:
        return path, 0
    return facts.st_dev, facts.st_ino, facts.st_size


def _digest_equal_sizes(pictures: Mapping[Path, tuple[Hashable, ...]]) -> dict[Path, str]:
    """Return the digests of those pictures that may be copies: their size and their beginning are those of another file."""
    by_size = _group(pictures, lambda path: pictures[path][-1])
    distinct = [paths for paths in by_size if len({pictures[path] for path in paths}) > 1]
    alike = [paths for same_size in distinct for paths in _group(same_size, lambda path: _digest(path, _HEAD_BYTES))]
    return {path: _digest(path) for paths in alike if len(paths) > 1 for path in paths}


def _group(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return list(groups.values())


def _digest(path: Path, size: int = -1) -> str:
    """Return the SHA-256 of a file or of its beginning; of a file that cannot be read, one of its path."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(size)).hexdigest()
    except OSError:
        return hashlib.sha256(os.fsencode(path)).hexdigest()
