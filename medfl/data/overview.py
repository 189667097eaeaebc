"""What lies in a data folder, in numbers: no name, path or patient id."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from medfl.data.dicom.references import LABELS
from medfl.data.images import SUFFIXES
from medfl.data.index.index import Index, Progress
from medfl.data.index.rows import Item
from medfl.data.index.walk import Passed, entries, is_media
from medfl.data.layouts.detect import layout_of, require_readable
from medfl.data.layouts.others import not_part, passed_over
from medfl.data.layouts.sources import NIFTI
from medfl.errors import DataError
from medfl.site import Site


@dataclass(frozen=True)
class Kind:
    """How much DICOM of one modality there is.

    Parameters
    ----------
    files, series, studies, patients : int
        Distinct ones; a patient without an id is not counted.
    """

    files: int
    series: int
    studies: int
    patients: int


@dataclass(frozen=True)
class Overview:
    """What lies in a data folder.

    Parameters
    ----------
    layout : str
        As in ``data.layout`` of the site; empty when medfl knows none that fits.
    files : int
        All that are not hidden.
    dicom : dict of str to Kind
        By Modality.
    labels : int
        DICOM-SEG and RTSTRUCT objects among them.
    nifti, images, other : int
        Further files by their kind.
    headerless, unreadable : int
        Files that look like DICOM without the 128-byte preamble, and DICOM files that can not be read.
    opened : int
        Files that had to be opened: the others have not changed since the last time.
    seconds : float
        That all took.
    remembered : bool
        Whether the next time is fast; else the store can not be written.
    found : bool
        Whether the layout was found rather than set.
    warnings : tuple of str
        What is no part of the layout, or could not be looked into.
    """

    layout: str
    files: int
    dicom: dict[str, Kind]
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


def overview(site: Site, progress: Progress | None = None) -> Overview:
    """Index the data folder of a site and count what lies there.

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
    with Index(site, progress) as index:
        try:
            items = index.tree(site.root)
            names = [entry.path.lower() for entry in entries(site.root, Passed()) if not is_media(entry.path)]
            layout, refused = _layout(site, index)
            aside = not_part(layout, site, index)
            told = [*passed_over(layout, site, index, missing=True), *filter(None, [aside, refused])]
        except OSError:
            what = f"the data folder of site {site.name} can not be read."
            raise DataError("DATA-READ", what, "Check disk, network drive and permissions.") from None
        kinds = Counter(item.kind for item in items)
        nifti = sum(name.endswith(NIFTI) for name in names)
        images = sum(name.endswith(SUFFIXES) for name in names)
        unreadable = kinds["damaged"] + kinds["unopened"]
        return Overview(
            layout=layout,
            files=len(names),
            dicom=_kinds(item for item in items if item.kind == "dicom"),
            labels=sum(item.modality in LABELS and item.kind == "dicom" for item in items),
            nifti=nifti,
            images=images,
            other=len(names) - nifti - images - kinds["dicom"] - kinds["headerless"] - unreadable,
            headerless=kinds["headerless"],
            unreadable=unreadable,
            opened=index.read,
            seconds=time.monotonic() - started,
            remembered=index.problem is None,
            found=site.data.layout == "auto",
            warnings=tuple(f"{warning.what} {warning.fix}" for warning in told),
        )


def _layout(site: Site, index: Index) -> tuple[str, DataError | None]:
    """Return the layout, and what is wrong with an index if there is none because of that."""
    try:
        return layout_of(site, index), None
    except DataError as error:
        return "", error if error.code.startswith("INDEX-") else None


def _kinds(items: Iterable[Item]) -> dict[str, Kind]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.modality if item.modality.isalpha() and len(item.modality) <= 16 else "?"].append(item)
    return {name: _kind(group) for name, group in sorted(groups.items())}


def _kind(group: list[Item]) -> Kind:
    def distinct(values: Iterable[str]) -> int:
        return len(set(values) - {""})

    return Kind(
        len(group),
        distinct(item.text("SeriesInstanceUID") for item in group),
        distinct(item.text("StudyInstanceUID") for item in group),
        distinct(item.patient for item in group),
    )
