"""Accounting of a data folder: what becomes of each of its files, whichever layout it has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable

from medfl.data.cases import Source
from medfl.data.file_account import REASONS, FileAccount
from medfl.data.index.file_facts import IndexedFile, is_archive, may_be_dicom
from medfl.data.index.file_index import FileIndex
from medfl.data.index.walk import SkippedFolders, is_dicomdir, walk_entries
from medfl.data.layouts.entries import Entry
from medfl.data.layouts.image_kinds import is_scout, object_kind
from medfl.data.layouts.missing_parts import is_named_as_dicom
from medfl.data.layouts.sources import is_image_file
from medfl.data.layouts.table_files import TABLE_SUFFIXES
from medfl.data.layouts.value_tables import VALUE_TABLE
from medfl.site import Site
from medfl.study.task import Modality

_LEAST_DOTS = 2  # more are a UID, as programs name files of DICOM
_REASON_OF_KIND = {
    "media": "table",
    "headerless": "headerless",
    "damaged": "unreadable",
    "unopened": "unreadable",
    "empty": "empty",
    "archive": "archive",
}
_REASON_OF_OBJECT = {
    "label": "unused-label",
    "no image": "no-image",
    "screen": "screen",
    "image": "unused-image",
    "doubtful": "unreadable",
    "other modality": "other-modality",
}


def account_files(
    site: Site,
    index: FileIndex,
    entries: Iterable[Entry] | None = None,
    modality: Modality | None = None,
    not_meant: Collection[str] = (),
    tables: Collection[str] = (),
) -> FileAccount:
    """Count all files of a data folder by what becomes of them.

    Parameters
    ----------
    site : Site
        The hospital.
    index : FileIndex
        Index of its data folder; of files that it has not looked at, only the names count.
    entries : iterable of Entry, optional
        What the layout found; without it, images and labels count as such whether or not a case uses them.
    modality : str, optional
        Modality of the study.
    not_meant : collection of str
        Paths of images of that modality that are not meant.
    tables : collection of str
        Paths of the tables and descriptions that the layout reads.

    Raises
    ------
    OSError
        When a folder cannot be listed for another reason than its permissions.
    """
    skipped = SkippedFolders(site.root)
    visible = {entry.path: entry for entry in walk_entries(site.root, skipped)}
    used = _used_files(entries or ())
    _follow_links(used, visible.keys())
    known, dicom_folders = index.seen(), set[str]()
    for item in known.values():
        if item.kind == "dicom":
            dicom_folders.add(os.path.dirname(item.path_text))
    counts: Counter[str] = Counter()
    for path, entry in visible.items():
        reason = used.pop(path, "") or _reason(path, tables, known.get(path), modality, everything=entries is None)
        if reason == "unused-image" and path in not_meant:
            reason = "not-meant"
        if reason == "other":
            reason = _reason_of_other(path, entry, dicom_folders, opened=path in known)
        counts[reason] += 1
    counts += Counter({"link-out": len(skipped.outside), "link-broken": len(skipped.broken)})
    counts += Counter({"link-inside": len(skipped.repeated), "special": len(skipped.special)})
    closed = 0
    for passed_over, folders in (("hidden", skipped.hidden), ("prediction", skipped.predictions)):
        counts[passed_over], unopened = _count_files(folders)
        closed += unopened
        for path, reason in used.items():  # named by an index nevertheless
            if path in folders or any(path.startswith(folder + os.sep) for folder in folders):
                counts[reason] += os.path.isfile(path)
                counts[passed_over] -= os.path.isfile(path)
    told = {reason: counts[reason] for reason in REASONS if counts[reason]}
    return FileAccount(told, len(skipped.closed) + closed, len(skipped.links))


def _used_files(entries: Iterable[Entry]) -> dict[str, str]:
    used: dict[str, str] = {}
    for entry in entries:
        for found, files, reason in ((entry.label, entry.label_files, "label"), (entry.image, entry.image_files, "image")):
            used |= {os.fspath(path): reason for path in (found.paths if isinstance(found, Source) else files)}
    return used


def _follow_links(used: dict[str, str], visible: Iterable[str] | set[str]) -> None:
    """Add where the used files really lie that were named through links: a walk does not follow them."""
    for path in [path for path in used if path not in visible]:
        try:
            real = os.path.realpath(path)
        except ValueError:  # a cell of the index that can be no path
            real = path
        used.setdefault(real, used.pop(path))


def _reason(
    path: str, tables: Collection[str], item: IndexedFile | None, modality: Modality | None, *, everything: bool
) -> str:
    name = os.path.basename(path)
    if path in tables or is_dicomdir(path):
        return "table"
    if name.lower().endswith(TABLE_SUFFIXES):
        return "table" if everything and name.lower().endswith(VALUE_TABLE) else "unused-table"
    if item is not None and item.kind == "dicom":
        kind = object_kind(item, modality)
        if kind == "image" and is_scout(item):
            return "scout"
        return kind if kind in ("image", "label") and everything else _REASON_OF_OBJECT[kind]
    if item is not None and item.kind in _REASON_OF_KIND:
        return _REASON_OF_KIND[item.kind]
    if is_image_file(name):
        return "image" if everything else "unused-image"
    return "archive" if is_archive(path) else "other"


def _reason_of_other(path: str, entry: os.DirEntry[str], dicom_folders: set[str], *, opened: bool) -> str:
    beside = os.path.dirname(path) in dicom_folders
    if not opened and may_be_dicom(path) and (beside or is_named_as_dicom(path) or _is_uid(entry.name)):
        return "not-opened" if _size(entry) else "empty"
    if beside:
        return "not-dicom"
    return "other" if _size(entry) else "empty"


def _size(entry: os.DirEntry[str]) -> int:
    """Return the size of a file, -1 where it cannot be told."""
    try:
        return entry.stat().st_size
    except OSError:
        return -1


def _is_uid(name: str) -> bool:
    return name.count(".") > _LEAST_DOTS and name.replace(".", "").isdecimal()


def _count_files(passed_over: Iterable[str]) -> tuple[int, int]:
    """Return how many files were passed over, by themselves or in folders, and how many such folders are closed."""
    closed: list[OSError] = []
    count = 0
    for path in passed_over:
        if os.path.islink(path) or not os.path.isdir(path):
            count += 1
            continue
        for _, _, names in os.walk(path, onerror=closed.append):
            count += len(names)
    return count, len(closed)
