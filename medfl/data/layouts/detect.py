"""Detection of the layout of a data folder, and the listing of its images; the first layout that fits is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from medfl.data.cases import Source
from medfl.data.index.file_facts import may_be_dicom
from medfl.data.index.file_index import FileIndex
from medfl.data.index.walk import SkippedFolders, stat_file, walk_entries
from medfl.data.layouts.bids import is_bids, list_bids
from medfl.data.layouts.case_table import CASE_LAYOUTS
from medfl.data.layouts.class_folders import advise_on_class_folders
from medfl.data.layouts.csv import find_index_files, is_csv, list_csv, require_usable_index
from medfl.data.layouts.data_sets_below import data_set_below_error
from medfl.data.layouts.dicom import list_dicom
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.folders import is_folders, list_folders
from medfl.data.layouts.image_selection import ImageSelection
from medfl.data.layouts.mask_names import check_mask_names
from medfl.data.layouts.msd import is_msd, list_msd
from medfl.data.layouts.nnunet import is_nnunet, list_nnunet
from medfl.data.layouts.patient_table import apply_patient_table, missing_patient_warnings
from medfl.data.layouts.shared_classes import shared_class_warnings
from medfl.data.layouts.sources import is_image_file, require_inside, visible_files
from medfl.data.layouts.unused_files import links_out, skipped_folder_warnings, unused_files_warning
from medfl.data.layouts.used_tables import advise_on_index, find_used_tables, unused_table_warning
from medfl.data.layouts.value_tables import name_mask_values
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_DICOM_KINDS = ("dicom", "damaged", "media")  # kinds of files that count as DICOM
_LISTERS: dict[str, Callable[[Site, Study, FileIndex, ImageSelection], Listing]] = {
    "csv": list_csv,
    "nnunet": lambda site, study, *_: list_nnunet(site, study),
    "msd": lambda site, study, *_: (list_nnunet if is_nnunet(site.root) else list_msd)(site, study),
    "bids": lambda site, study, *_: list_bids(site, study),
    "dicom": list_dicom,
    "folders": list_folders,
}


def list_images(site: Site, study: Study, index: FileIndex, *, inferred: bool = False) -> Listing:
    """List what lies in the data folder of a site.

    Where the study is `inferred`, its classes are nobody's, and no mask is refused for the name of its file.

    Raises
    ------
    DataError
        ``DATA-READ``, ``IMG-SELECT``, those of `detect_layout`, and those of the layout.
    """
    try:
        layout = detect_layout(site, index)
        selection = ImageSelection.of(site, study)
        listing = _refuse_outside(site.root, selection.finish(_LISTERS[layout](site, study, index, selection)))
        if layout == "folders" and not any(isinstance(entry.image, Source) for entry in listing.entries):
            _refuse_data_set_below(site)
        found = name_mask_values(listing, site.root)
        found = found if inferred else check_mask_names(found, site, study, layout)
        listing = apply_patient_table(found, site, study, layout)
        missing = any(isinstance(e.image, DataError) and e.image.code == "IMG-MISSING" for e in listing.entries)
        unused = unused_files_warning(layout, site, index)
        warnings = [*skipped_folder_warnings(layout, site, index, missing=missing), *([unused] if unused else [])]
        warnings += missing_patient_warnings(found, site, layout)
        warnings += shared_class_warnings(listing, study, layout, site.data.select)
        tables = listing.tables | find_used_tables(site, layout)
        warnings += filter(None, [unused_table_warning(site, layout, tables)])
    except OSError:
        raise _unreadable_error(site) from None
    except DataError as error:
        advised = error.code == "INDEX-MISSING" and site.data.layout not in CASE_LAYOUTS
        fix = advise_on_class_folders(site.root) if advised else ""
        if not fix:
            raise
        raise DataError(error.code, error.what, fix) from None
    return replace(listing, warnings=(*listing.warnings, *warnings), tables=tables)


def _refuse_outside(root: Path, listing: Listing) -> Listing:
    """Refuse what leads out of the data folder, whichever layout found it.

    A walk of DICOM has told links already, and a hospital may have a million of its files.
    """

    def check(found: Source | str | DataError) -> Source | str | DataError:
        if isinstance(found, Source) and found.kind != "dicom":
            try:
                for path in found.paths:
                    require_inside(root, path)
            except DataError as error:
                return error
        return found

    entries = [(entry, check(entry.image), check(entry.label)) for entry in listing.entries]
    return replace(
        listing,
        entries=tuple(
            entry
            if image is entry.image and label is entry.label
            else replace(
                entry,
                image=cast("Source | DataError", image),
                label=label,
                image_files=entry.image_files or _paths_of(entry.image),
                label_files=entry.label_files or _paths_of(entry.label),
            )
            for entry, image, label in entries
        ),
    )


def _paths_of(found: Source | str | DataError) -> tuple[Path, ...]:
    return found.paths if isinstance(found, Source) else ()


def require_readable(site: Site) -> None:
    """Check that the data folder of a site is there and can be listed.

    Raises
    ------
    DataError
        ``DATA-ROOT`` or ``DATA-READ``.
    """
    try:
        exists = site.root.is_dir()
        if exists:
            with os.scandir(site.root) as listing:
                for entry in listing:
                    entry.stat(follow_symlinks=False)  # names may be listed, and nothing else be allowed
                    break
    except FileNotFoundError:  # removed meanwhile
        return
    except OSError:
        raise _unreadable_error(site) from None
    if not exists:
        raise DataError("DATA-ROOT", f"the data folder of site {site.name} does not exist.", "Set data.root in site.toml.")


def _unreadable_error(site: Site) -> DataError:
    what = f"the data folder of site {site.name} cannot be read."
    return DataError("DATA-READ", what, "Check disk, network drive and permissions.")


def detect_layout(site: Site, index: FileIndex) -> str:
    """Return how the data folder of a site is laid out.

    Raises
    ------
    DataError
        ``DATA-EMPTY`` or ``DATA-LAYOUT``; ``INDEX-COLUMN`` when there is an index that serves for nothing.
    """
    if site.data.layout != "auto":
        return site.data.layout
    root = site.root
    tests: dict[str, Callable[[], bool]] = {
        "csv": lambda: is_csv(site),  # first: somebody wrote the index on purpose
        "nnunet": lambda: is_nnunet(root),
        "msd": lambda: is_msd(root),
        "bids": lambda: is_bids(root),
        "dicom": lambda: _holds_dicom(site, index, majority=True),
        "folders": lambda: is_folders(root),
        "any dicom": lambda: _holds_dicom(site, index, majority=False),
    }
    for name, fits in tests.items():
        if name == "dicom" and (found := find_index_files(site)):
            if len(found) > 1:
                what = f"the data folder holds {len(found)} tables that name images, and none is called {site.data.index}."
                raise DataError("DATA-LAYOUT", what, "Set data.index to the one that is meant, or data.layout, in site.toml.")
            return "csv"
        if fits():
            if name not in ("csv", "nnunet", "msd", "bids"):  # those say themselves what belongs to them
                require_usable_index(site)
            return name.removeprefix("any ")
    if find_table(root, site.data.index).is_file():
        return "csv"  # its error says which column is missing
    passed = SkippedFolders(root)
    if next(visible_files(root, passed), None) is None:
        raise _empty_error(site, passed)
    _refuse_data_set_below(site)
    fix = advise_on_index(site, "", ())
    fix = fix or "Write an index.csv with the columns image, label and patient, or set data.layout in site.toml."
    raise DataError("DATA-LAYOUT", f"the data folder of site {site.name} has no layout that medfl knows.", fix)


def _refuse_data_set_below(site: Site) -> None:
    if site.data.layout == "auto" and (error := data_set_below_error(site)):
        raise error


def _empty_error(site: Site, passed: SkippedFolders) -> DataError:
    """Return the error of a folder without a file, with what was passed over in it."""
    what = f"the data folder of site {site.name} holds no file."
    out = len(links_out(passed, site.root)) + len(passed.outside)
    if out:
        what = f"{what} {out} link(s) in it lead out of it, and are not followed."
        return DataError("DATA-EMPTY", what, "Set data.root in site.toml to the folder that they lead to.")
    if passed.predictions:
        what = f"{what} What lies in it are predictions of medfl, which are no data."
        return DataError("DATA-EMPTY", what, "Name the folder of the images that they were made of.")
    if passed.closed:
        what = f"{what} {len(passed.closed)} folder(s) in it cannot be opened."
        return DataError("DATA-EMPTY", what, "Check their permissions: the account that runs medfl must read them.")
    return DataError("DATA-EMPTY", what, "Put the images there, or set data.root in site.toml to where they are.")


def _holds_dicom(site: Site, index: FileIndex, *, majority: bool) -> bool:
    """Return whether the folder holds DICOM; with `majority`, whether it holds more of it than of other images.

    One stray file must not hide all of them. Files without preamble count where they are allowed, or where there is nothing
    else.
    """
    listed = list(walk_entries(site.root, SkippedFolders()))
    images = sum(is_image_file(entry.name) for entry in listed)
    candidates = [entry for entry in listed if may_be_dicom(entry.path)]
    threshold = images if majority else 0
    if len(candidates) <= threshold:
        return False
    count = start = 0
    headerless = False
    step = threshold + 1  # files to look at together: as many as can decide it
    while start < len(candidates):
        items = index.identify(stat_file(entry) for entry in candidates[start : start + step])
        count += sum(item.kind in _DICOM_KINDS or (item.kind == "headerless" and site.data.allow_headerless) for item in items)
        headerless = headerless or any(item.kind == "headerless" for item in items)
        if count > threshold:
            return True
        start, step = start + step, step * 4
    return headerless and not images
