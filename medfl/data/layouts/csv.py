"""Layout `csv`: an index file with one row an image."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.file_index import FileIndex
from medfl.data.index.walk import is_hidden
from medfl.data.layouts.channels import names_in_patterns
from medfl.data.layouts.columns import (
    ANNOTATED_COLUMN,
    SPLIT_COLUMN,
    describe_columns,
    find_meant,
    has_column,
    is_misspelt,
    refuse_misspelt_columns,
)
from medfl.data.layouts.dicom_resolver import (
    SELECTING_COLUMNS,
    DicomResolver,
    get_selecting_cells,
    is_read_as_dicom,
    names_series,
)
from medfl.data.layouts.entries import CASE_COLUMN, Entry, Listing, missing_label_error
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.image_selection import ImageSelection
from medfl.data.layouts.mask_folders import find_masks_as_classes
from medfl.data.layouts.row_conditions import count_blank_rows, count_unmet_values, filter_rows
from medfl.data.layouts.sources import NIFTI_SUFFIXES, make_source, require_files, resolve_below
from medfl.data.layouts.table import (
    CSV_SUFFIXES,
    Table,
    fill_pattern,
    get_optional_column,
    pattern_columns,
    read_table,
)
from medfl.data.layouts.unread_columns import unread_column_warnings
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study

_ROOT_FOLDER = "."  # where the series is named, its folder need not be


def is_csv(site: Site) -> bool:
    """Return whether the data folder has an index whose columns give the images."""
    path = find_table(site.root, site.data.index)
    # a damaged one is meant to be one: reading it says what is wrong
    return path.is_file() and _has_image_columns(path, site, damaged=True)


def find_index_files(site: Site) -> list[str]:
    """Return the tables in the data folder that give images, where the site names none and there is none of the usual name."""
    if site.data.index != SiteData().index:
        return []
    tables = [path for path in site.root.iterdir() if path.suffix.lower() in CSV_SUFFIXES and not is_hidden(path.name)]
    return sorted(path.name for path in tables if _has_image_columns(path, site, damaged=False))


def list_csv(site: Site, study: Study, index: FileIndex, selection: ImageSelection) -> Listing:
    """List the images of an index.

    Raises
    ------
    DataError
        ``INDEX-*`` when the index is missing, or a column that the site names is not in it.
    """
    full_table = read_table(resolve_below(site.root, index_name(site)), site.data.patient, site.data.label, site.data.image)
    table = filter_rows(full_table, site.data.where)
    resolver = DicomResolver(study.task.modality, site.data, index, selection)
    entries = _list_rows(table, site, index, resolver, masks=study.task.kind == "segmentation")
    return Listing(
        tuple(entries),
        patient_ids=bool(site.data.patient),
        warnings=(
            *_blank_warnings(full_table, site.data.where),
            *_unmet_warnings(full_table, site.data.where),
            *unread_column_warnings(table, site.data),
            *resolver.warnings(),
        ),
        channels=names_in_patterns(site.data.image),
    )


def _list_rows(table: Table, site: Site, index: FileIndex, resolver: DicomResolver, *, masks: bool) -> list[Entry]:
    """Return what each row says; the files that have to be opened for it are opened all at once."""
    root = site.root
    section = "data" if (site.folder / "site.toml").is_file() else "simulation"
    images = _read_image_names(table, site, section)
    keys = [_row_key(names, row) for names, row in zip(images, table.rows, strict=True)]
    labels = fill_pattern(table, site.data.label, what="label", section=section) if site.data.label else [""] * len(keys)
    patients = [key.replace("\n", "/") for key in keys]
    if site.data.patient:
        patients = fill_pattern(table, site.data.patient, what="patient", section=section)
    splits, annotations = (get_optional_column(table, name) for name in (SPLIT_COLUMN, ANNOTATED_COLUMN))
    not_images = set() if masks else find_masks_as_classes(images, labels)
    index.prefetch(_paths_to_open(root, [*(name for names in images for name in names), *(labels if masks else ())]))
    return [
        Entry(
            key=key,
            patient=patient,
            image=_mask_error() if not_images.intersection(names) else _resolve_image(root, names, row, resolver),
            label=_resolve_mask(root, label, resolver) if masks else label,
            split=split,
            annotated=annotated,
            image_files=tuple(root / name for name in names if name),
            damaged_files=resolver.find_damages(names),
            label_files=(root / label,) if masks and label else (),
        )
        for key, names, label, patient, split, annotated, row in zip(
            keys, images, labels, patients, splits, annotations, table.rows, strict=True
        )
    ]


def _read_image_names(table: Table, site: Site, section: str) -> list[tuple[str, ...]]:
    """Return the files or folders that each row names, one for each channel."""
    parts = [fill_pattern(table, part, what="image", section=section) for part in _split_names(site.data.image)]
    named = list(zip(*parts, strict=True))
    _refuse_misspelt_selection(table, named)
    return [_image_names(names, row) for names, row in zip(named, table.rows, strict=True)]


def as_unlabelled(site: Site) -> Site:
    """Return a site as unlabelled if its index has no column of the usual name and the site names none.

    For a look at images before there is a study.
    """
    if site.data.label != SiteData().label:
        return site
    try:
        columns = read_table(resolve_below(site.root, index_name(site))).columns
    except (DataError, OSError):
        return site
    named = any(has_column([name], site.data.label) or is_misspelt(name, site.data.label) for name in columns)
    if site.data.layout not in ("auto", "csv") or named or not _gives_images(columns, site):
        return site
    return site.model_copy(update={"data": site.data.model_copy(update={"label": ""})})


def require_usable_index(site: Site) -> None:
    """Refuse to pass over an index that has none of the columns that it could be there for.

    Without images it may still give the classes, splits or annotated structures of patients.

    Raises
    ------
    DataError
        ``INDEX-COLUMN`` or ``INDEX-FORMAT``.
    """
    path = find_table(site.root, site.data.index)
    if not path.is_file():
        return
    table = read_table(path, site.data.patient, site.data.label, site.data.image)
    told = any(has_column(table.columns, name) for name in (site.data.label, SPLIT_COLUMN, ANNOTATED_COLUMN))
    named = any(has_column(table.columns, name) for name in (site.data.patient, CASE_COLUMN))
    if not (told and named):
        raise _useless_index_error(table, site, {"patient": not named, "label": not told})


def _useless_index_error(table: Table, site: Site, lacks: Mapping[str, bool]) -> DataError:
    """Return the error of an index beside images that were found without it, which lacks a column for patients or labels."""
    wanted = {"patient": site.data.patient, "label": site.data.label}
    lacking = [role for role in wanted if lacks[role]]
    names = " and no ".join(f"column {wanted[role]!r}" for role in lacking)
    what = f"the images were found without the index; it has no {names}, and no column {site.data.image!r} either."
    guesses = {role: find_meant(table.columns, wanted[role], role, table.rows)[:1] for role in lacking}
    settings = " and ".join(f'{role} = "{guess}"' for role, found in guesses.items() for guess in found)
    settings = settings if all(guesses.values()) else " and ".join(f"'{role}'" for role in lacking) + " to columns of it"
    there = describe_columns(table.columns, "", rows=table.rows)
    fix = (
        f"{there} No column of images is needed: set {settings} in [data]. If it does name images, set "
        'image = "images/{id}.nii.gz" or a column; if it is about something else, set layout.'
    )
    return DataError("INDEX-COLUMN", what, fix)


def index_name(site: Site) -> str:
    """Return the name of the index: as the site has it, or of the one table that gives images."""
    path = find_table(site.root, site.data.index)
    found = find_index_files(site) if not path.is_file() else []
    return found[0] if len(found) == 1 else os.path.relpath(path, site.root)


def _has_image_columns(path: Path, site: Site, *, damaged: bool) -> bool:
    try:
        columns = read_table(path, site.data.patient, site.data.label, site.data.image).columns
    except DataError:
        return damaged
    return _gives_images(columns, site)


def _gives_images(columns: Sequence[str], site: Site) -> bool:
    return all(has_column(columns, name) for part in _split_names(site.data.image) for name in pattern_columns(part))


def _split_names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _refuse_misspelt_selection(table: Table, images: Iterable[Sequence[str]]) -> None:
    """Refuse columns that are nearly those that choose something of DICOM, where there may be DICOM."""
    try:
        refuse_misspelt_columns(table.columns, SELECTING_COLUMNS)
    except DataError:
        if any(not any(names) or any(name and is_read_as_dicom(Path(name)) for name in names) for names in images):
            raise


def _image_names(names: tuple[str, ...], row: Mapping[str, str]) -> tuple[str, ...]:
    """Return where the image of a row is; a row that names a series may leave its folder open."""
    return (_ROOT_FOLDER,) if not any(names) and names_series(row) else names


def _row_key(names: tuple[str, ...], row: Mapping[str, str]) -> str:
    """Return what identifies a row: its files, and what it selects of them."""
    dicom = all(name and is_read_as_dicom(Path(name)) for name in names)
    return "\n".join((*names, *(f"{column}={cell}" for column, cell in get_selecting_cells(row) if dicom)))


def _paths_to_open(root: Path, names: Iterable[str]) -> list[Path]:
    """Return the files and folders of an index that have to be opened to know what they are."""
    paths = []
    for name in dict.fromkeys(names):
        if name and not name.lower().endswith((*NIFTI_SUFFIXES, *IMAGE_SUFFIXES)):
            with contextlib.suppress(DataError):  # reported with its row
                paths.append(resolve_below(root, name))
    return [path for path in paths if os.path.exists(path)]


def _mask_error() -> DataError:
    what = "the picture in this row is a mask by its name or its folder, not an image of a class."
    fix = "List the images only, with the class of each as its label; for segmentation, give each image its mask as label."
    return DataError("IMG-MASK", what, fix)


def _resolve_image(root: Path, names: tuple[str, ...], row: Mapping[str, str], resolver: DicomResolver) -> Source | DataError:
    if not all(names):
        return DataError("IMG-MISSING", "the index names no image in this row.", "Fill the cell, or remove the row.")
    try:
        paths = tuple(resolve_below(root, name) for name in names)
        if not all(map(is_read_as_dicom, paths)):
            return make_source(paths)
        require_files(paths, "IMG-MISSING")
        return resolver.resolve_image(paths, row)
    except DataError as error:
        return error


def _resolve_mask(root: Path, name: str, resolver: DicomResolver) -> Source | DataError:
    if not name:
        return missing_label_error()
    try:
        path = resolve_below(root, name)
        if not is_read_as_dicom(path):
            return make_source((path,), "LBL-MISSING")
        require_files((path,), "LBL-MISSING")
        return resolver.resolve_label(path)
    except DataError as error:
        return error


def _blank_warnings(table: Table, conditions: str) -> tuple[Finding, ...]:
    """Return a warning about rows that belong nowhere because the cell that decides it is blank."""
    count = count_blank_rows(table, conditions)
    if not count:
        return ()
    what = f"{count} row(s) of the index are blank in a column by which rows are chosen, so they are left out."
    return (Finding.warning("INDEX-BLANK", what, "Fill the cells, or remove the rows."),)


def _unmet_warnings(table: Table, conditions: str) -> tuple[Finding, ...]:
    """Return a warning about values by which rows are chosen and that no row has."""
    count = count_unmet_values(table, conditions)
    if not count:
        return ()
    what = f"{count} value(s) of 'where' stand in no row of the index, so they choose nothing."
    return (Finding.warning("INDEX-WHERE", what, "Correct the spelling, or leave them out."),)
