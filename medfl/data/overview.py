"""Overview of a data folder in numbers, without a name, path or patient id."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medfl.data.dicom.references import LABEL_MODALITIES
from medfl.data.file_account import FileAccount
from medfl.data.findings import Finding
from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.file_facts import IndexedFile
from medfl.data.index.file_index import FileIndex, Progress
from medfl.data.index.walk import SkippedFolders, is_dicomdir, walk_entries
from medfl.data.layouts.accounting import account_files
from medfl.data.layouts.detect import detect_layout, require_readable
from medfl.data.layouts.site_table import describe_site_table
from medfl.data.layouts.sources import NIFTI_SUFFIXES
from medfl.data.layouts.table_description import TableDescription
from medfl.data.layouts.unused_files import skipped_folder_warnings, unused_files_warning
from medfl.data.layouts.used_tables import find_used_tables, unused_table_warning
from medfl.data.listed_images import ListedImages, list_known_images
from medfl.data.quality.class_balance import find_small_values
from medfl.errors import DataError
from medfl.site import Site


@dataclass(frozen=True)
class ModalityCounts:
    """Amount of DICOM of one modality.

    Parameters
    ----------
    files, series, studies, patients : int
        Numbers of distinct ones; a patient without an id is not counted.
    """

    files: int
    series: int
    studies: int
    patients: int


@dataclass(frozen=True)
class Overview:
    """Counts of what a data folder holds.

    Parameters
    ----------
    layout : str
        Layout as in ``data.layout`` of the site; empty when medfl knows none that fits.
    files : int
        All that are not hidden.
    dicom : dict of str to ModalityCounts
        Counts by value of Modality.
    labels : int
        DICOM-SEG and RTSTRUCT objects among them.
    nifti, images, other : int
        Further files by their kind.
    headerless, unreadable : int
        Files that look like DICOM without the 128-byte preamble, and DICOM files that cannot be read.
    opened : int
        Files that had to be opened: the others have not changed since the last time.
    seconds : float
        Time that the whole overview took.
    remembered : bool
        Whether the next time is fast; else the store cannot be written.
    found : bool
        Whether the layout was found rather than set.
    warnings : tuple of str
        What is no part of the layout, or could not be looked into.
    account : FileAccount
        All files by what they are, hidden ones too.
    listed : ListedImages, optional
        Images and patients of the layout; None where it cannot list them, and for DICOM, where `dicom` tells them.
    dicom_patients : int
        Patients of all DICOM files together.
    table : TableDescription, optional
        The index, or ``participants.tsv``; None where there is none.
    """

    layout: str
    files: int
    dicom: dict[str, ModalityCounts]
    labels: int
    nifti: int
    images: int
    other: int
    headerless: int
    unreadable: int
    opened: int
    seconds: float
    remembered: bool
    found: bool
    warnings: tuple[str, ...]
    account: FileAccount
    listed: ListedImages | None
    dicom_patients: int
    table: TableDescription | None


def make_overview(site: Site, progress: Progress | None = None) -> Overview:
    """Index the data folder of a site and count what it holds.

    Parameters
    ----------
    site : Site
        The hospital.
    progress : callable, optional
        Called with (files read, files to read).

    Raises
    ------
    DataError
        ``DATA-ROOT`` or ``DATA-READ``.
    """
    started = time.monotonic()
    require_readable(site)
    with FileIndex(site, progress) as index:
        try:
            items = index.tree(site.root)
            names = [entry.path.lower() for entry in walk_entries(site.root, SkippedFolders()) if not is_dicomdir(entry.path)]
            layout, index_error = _try_layout(site, index)
            # of DICOM the headers have told already, and a listing would cost as much again
            listed, listing_error = list_known_images(site, layout, index) if layout not in ("", "dicom") else (None, None)
            table, tables = describe_site_table(site, layout), find_used_tables(site, layout)
            account = account_files(site, index, tables=tables)
            if listed:
                listing, tables = listed.listing, listed.listing.tables
                account = account_files(site, index, listing.entries, listed.modality, listing.not_meant, tables)
            warnings = [*skipped_folder_warnings(layout, site, index, missing=True)]
            warnings += filter(None, [unused_files_warning(layout, site, index), index_error, listing_error])
            warnings += filter(None, [unused_table_warning(site, layout, tables)])
            warnings += find_small_values(table.classes if table else ())
        except OSError:
            what = f"the data folder of site {site.name} cannot be read."
            raise DataError("DATA-READ", what, "Check disk, network drive and permissions.") from None
        return Overview(
            layout=layout,
            **_count_files(items, names, index.skipped.broken),
            opened=index.opened_count,
            seconds=time.monotonic() - started,
            remembered=index.problem is None,
            found=site.data.layout == "auto",
            warnings=tuple(f"{warning.what} {warning.fix}" for warning in warnings),
            account=account,
            listed=listed.counts if listed else None,
            table=table,
        )


def _count_files(items: Sequence[IndexedFile], names: Sequence[str], broken: Collection[str]) -> dict[str, Any]:
    """Return the counts of an overview, by their names, of what the index knows and of the names of all files."""
    kinds = Counter(item.kind for item in items if item.path_text not in broken)
    dicom = [item for item in items if item.kind == "dicom"]
    nifti = sum(name.endswith(NIFTI_SUFFIXES) for name in names)
    images = sum(name.endswith(IMAGE_SUFFIXES) for name in names)
    unreadable = kinds["damaged"] + kinds["unopened"]
    return {
        "files": len(names),
        "dicom": _count_modalities(dicom),
        "labels": sum(item.modality in LABEL_MODALITIES for item in dicom),
        "nifti": nifti,
        "images": images,
        "other": len(names) - nifti - images - kinds["dicom"] - kinds["headerless"] - unreadable,
        "headerless": kinds["headerless"],
        "unreadable": unreadable,
        "dicom_patients": len({item.patient for item in dicom} - {""}),
    }


def _try_layout(site: Site, index: FileIndex) -> tuple[str, Finding | None]:
    """Return the layout, and what is wrong with an index if there is none because of that."""
    try:
        return detect_layout(site, index), None
    except DataError as error:
        return "", Finding.from_error(error, level="warning") if error.code.startswith("INDEX-") else None


def _count_modalities(items: Iterable[IndexedFile]) -> dict[str, ModalityCounts]:
    groups: dict[str, list[IndexedFile]] = defaultdict(list)
    for item in items:
        groups[item.modality if item.modality.isalpha() and len(item.modality) <= 16 else "?"].append(item)
    return {name: _count_modality(group) for name, group in sorted(groups.items())}


def _count_modality(group: list[IndexedFile]) -> ModalityCounts:
    def distinct(values: Iterable[str]) -> int:
        return len(set(values) - {""})

    return ModalityCounts(
        len(group),
        distinct(item.text("SeriesInstanceUID") for item in group),
        distinct(item.text("StudyInstanceUID") for item in group),
        distinct(item.patient for item in group),
    )
