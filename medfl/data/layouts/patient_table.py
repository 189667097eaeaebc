"""Tables with one row a patient: the classes, splits and annotated structures that the files of a layout do not say."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medfl.data.findings import Finding
from medfl.data.layouts.columns import ANNOTATED_COLUMN, SPLIT_COLUMN, find_column, find_optional_column, has_column
from medfl.data.layouts.entries import CASE_COLUMN, Entry, Listing
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.id_spellings import unmatched_id_warnings
from medfl.data.layouts.sources import require_inside
from medfl.data.layouts.table import Table, get_column, get_optional_column, read_table, unread_split_warnings
from medfl.data.spelling import fold_id, fold_name, is_blank
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study

PARTICIPANTS, _PARTICIPANT = "participants.tsv", "participant_id"  # of BIDS
_SUBJECT = "sub-"


@dataclass(frozen=True)
class PatientRow:
    """What a table says of a patient.

    Parameters
    ----------
    label, split, annotated : str
        Cells, empty where there is none.
    problem : DataError, optional
        Why it cannot be used: another row says something else.
    """

    label: str = ""
    split: str = ""
    annotated: str = ""
    problem: DataError | None = None


def apply_patient_table(listing: Listing, site: Site, study: Study, layout: str) -> Listing:
    """Return a listing with what the site's table of patients says: their classes in classification, splits, annotated classes.

    The table is ``participants.tsv`` of BIDS, else the site's index. Ids are compared as text.

    Parameters
    ----------
    listing : Listing
        What a layout found.
    site, study : Site, Study
        Name the columns, and say whether classes are needed.
    layout : str
        Name of the layout. One that reads its index itself is left alone.

    Raises
    ------
    DataError
        ``INDEX-MISSING``, ``INDEX-PATH``, ``INDEX-FORMAT`` or ``INDEX-COLUMN``; ``SPLIT-MISSING`` when nobody who is here
        has one.
    """
    classes = study.task.kind == "classification" and bool(site.data.label)
    path = find_table(site.root, PARTICIPANTS if layout == "bids" else site.data.index)
    if layout == "csv" or not (classes or path.is_file()):
        return listing
    prefix = _SUBJECT if layout == "bids" else ""
    try:
        rows, warnings = _read_rows(path, site, prefix, classes=classes)
    except DataError as error:
        if classes or error.code == "INDEX-COLUMN":
            raise
        return replace(listing, warnings=(*listing.warnings, Finding.from_error(error, level="warning")))
    if not rows:
        return replace(listing, warnings=(*listing.warnings, *warnings))
    patients = {entry.patient: _id_in_table(entry.patient.partition("|")[0], prefix) for entry in listing.entries}
    found = {patient: rows[one] for patient, one in patients.items() if one in rows}
    if any(row.split for row in rows.values()) and not any(row.split for row in found.values()):
        what = "the table names splits, and none of the patients that it names is one of those found here."
        raise DataError("SPLIT-MISSING", what, "Write the ids as they are with the images, or remove the column 'split'.")
    entries = [_apply_row(entry, found.get(entry.patient, PatientRow()), classes=classes) for entry in listing.entries]
    warnings += unmatched_id_warnings(rows, set(patients.values()))
    return replace(listing, entries=tuple(entries), warnings=(*listing.warnings, *warnings))


def missing_patient_warnings(listing: Listing, site: Site, layout: str) -> list[Finding]:
    """Return a warning about patients whom a table names, or a folder of BIDS, and of whom there is no image.

    Parameters
    ----------
    listing : Listing
        What a layout found.
    site : Site
        Names the table and its columns.
    layout : str
        Name of the layout. One that reads its index itself asks for each image that it names.
    """
    if layout == "csv":
        return []
    prefix = _SUBJECT if layout == "bids" else ""
    named = {folder.name for folder in site.root.glob(f"{_SUBJECT}*/")} if layout == "bids" else set()
    path = find_table(site.root, PARTICIPANTS if layout == "bids" else site.data.index)
    try:
        require_inside(site.root, path)
        table = read_table(path, site.data.patient, site.data.label)
        named.update(get_column(table, patient_column(table, site, prefix)))
    except DataError:  # who needs the table says what is wrong with it
        pass
    # one whose id is only spelt otherwise is told as such
    found = {fold_id(_id_in_table(entry.patient.partition("|")[0], prefix)) for entry in listing.entries}
    missing = {_id_in_table(patient, prefix) for patient in named if patient}
    count = sum(fold_id(patient) not in found for patient in missing)
    if not count:
        return []
    what = f"{count} patient(s) are named by the table or a folder, and no image of them was found for the study."
    fix = "Look for images that were not copied, cannot be read, or lie in an archive; take rows out that belong to nobody."
    return [Finding.warning("ID-NO-IMAGE", what, fix)]


def _apply_row(entry: Entry, row: PatientRow, *, classes: bool) -> Entry:
    label = row.label if classes and not isinstance(entry.label, DataError) else entry.label
    return replace(entry, label=row.problem or label, split=row.split, annotated=row.annotated)


def _read_rows(path: Path, site: Site, prefix: str, *, classes: bool) -> tuple[dict[str, PatientRow], list[Finding]]:
    """Return the rows of a table by patient, none where it says nothing that is needed, and warnings."""
    require_inside(site.root, path)
    table = read_table(path, site.data.patient, site.data.label)
    optional = [find_optional_column(table.columns, name) for name in (SPLIT_COLUMN, ANNOTATED_COLUMN)]
    if not classes and not any(optional):
        return {}, unread_split_warnings(table)
    patients = get_column(table, patient_column(table, site, prefix))
    labels = get_column(table, site.data.label) if classes else [""] * len(patients)
    splits, annotated = (get_optional_column(table, name) for name in (SPLIT_COLUMN, ANNOTATED_COLUMN))
    rows: dict[str, PatientRow] = {}
    for patient, label, split, structures in zip(patients, labels, splits, annotated, strict=True):
        if patient:
            row, key = PatientRow(label, split, structures), _id_in_table(patient, prefix)
            rows[key] = _join_rows(rows.get(key, row), row)
    return rows, unread_split_warnings(table)


def patient_column(table: Table, site: Site, prefix: str) -> str:
    """Return the column that names patients: the site's, else that of BIDS or one with the case.

    Raises
    ------
    DataError
        ``INDEX-COLUMN``.
    """
    named = site.data.patient
    if named == SiteData().patient:
        if prefix:
            return find_column(table.columns, _PARTICIPANT)
        if not has_column(table.columns, named) and has_column(table.columns, CASE_COLUMN):
            return CASE_COLUMN
    return named


def _id_in_table(patient: str, prefix: str) -> str:
    composed = unicodedata.normalize("NFC", patient)
    return composed[len(prefix) :] if composed.casefold().startswith(prefix) else composed


def _join_rows(one: PatientRow, other: PatientRow) -> PatientRow:
    """Return what two rows of a patient say together; one that contradicts another costs the patient."""
    cells: tuple[tuple[Callable[[PatientRow], str], str, str], ...] = (
        (lambda row: row.label, "LBL-CONFLICT", "a patient has two different classes."),
        (lambda row: row.split, "SPLIT-LEAK", "the table puts the patient into two splits."),
        (lambda row: row.annotated, "LBL-CONFLICT", "two rows of a patient name different annotated classes."),
    )
    for cell, code, what in cells:
        if fold_name(cell(one)) != fold_name(cell(other)) and not (is_blank(cell(one)) and is_blank(cell(other))):
            return replace(one, problem=DataError(code, what, "Keep the row that is right."))
    return one
