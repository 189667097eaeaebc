"""Copies: entries whose images are one and the same, whatever paths lead to them."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.dicom.select import OBJECT_KEYS
from medfl.data.layouts.entries import Entry
from medfl.data.spelling import fold_name

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how PNG, JPEG, BMP and TIFF begin
_HEAD_BYTES = 65536  # pictures of one size that differ mostly do so in their beginning


def group_copies(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group entries by the image that they are about, in the order of their first ones.

    DICOM images are the same if they share a SOP Instance UID and the same is selected of them: a series that lacks a slice of
    another one is a damaged copy, and no second image. Other files are the same if they are one file, through whatever path
    or link, and pictures also if their bytes are equal. Copies that were saved anew are found when they are read
    (`medfl.data.same_content`), because all images have to be read for it.

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
    return _join_shared(groups)


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
        kept = tuple(map(_without_series, entry.image.select))
        return _objects(entry), kept if any(kept) else ()
    return tuple(ids[path] for path in entry.image.paths)


def _objects(entry: Entry) -> frozenset[str]:
    files = entry.image.files if isinstance(entry.image, Source) else ()
    return frozenset(file.text("SOPInstanceUID") or file.path_text for file in files)


def _without_series(select: str) -> str:
    """Return a selection without the conditions that only said which files are meant."""
    kept = [part.strip() for part in select.split(";")]
    return "; ".join(part for part in kept if part.partition("=")[0].strip() not in OBJECT_KEYS)


def _join_shared(groups: Mapping[Hashable, list[Entry]]) -> list[list[Entry]]:
    """Return the groups, those of DICOM images that share an object as one."""
    joined: list[list[Entry]] = []
    places: dict[Hashable, int] = {}  # of the group that has an object and a selection
    for key, group in groups.items():
        shared = [(one, key[1]) for one in sorted(_objects(group[0]))] if isinstance(key, tuple) and _objects(group[0]) else []
        place = next((places[one] for one in shared if one in places), len(joined))
        if place == len(joined):
            joined.append([])
        joined[place] += group
        places.update(dict.fromkeys(shared, place))
    return joined


def same_objects(entries: Iterable[Entry]) -> bool:
    """Return whether entries about one DICOM image have the same files of it; those of other kinds always do."""
    return len({_objects(entry) for entry in entries}) <= 1


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
    alike = [paths for same_size in distinct for paths in _group(same_size, _beginning)]
    return {path: _digest(path) for paths in alike if len(paths) > 1 for path in paths}


def _group(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return list(groups.values())


def _beginning(path: Path) -> Hashable:
    """Return the beginning of a picture; of what is none, its path: one error page in the place of many images is no image."""
    try:
        with open(path, "rb") as file:
            content = file.read(_HEAD_BYTES)
    except OSError:
        return path
    return hashlib.sha256(content).digest() if content.startswith(_PICTURES) else path


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; of a file that cannot be read, one of its path."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return hashlib.sha256(os.fsencode(path)).hexdigest()
