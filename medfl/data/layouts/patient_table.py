"""Tables with one row a patient or case: the classes, splits, annotated structures and patients that files do not say."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

from medfl.data.findings import Finding
from medfl.data.layouts.bids_names import PARTICIPANTS_FILE
from medfl.data.layouts.case_table import CASE_LAYOUTS, case_of_cell, names_patients_of_cases, unread_person_warnings
from medfl.data.layouts.columns import ANNOTATED_COLUMN, SPLIT_COLUMN, find_column, find_optional_column, has_column
from medfl.data.layouts.entries import CASE_COLUMN, Listing
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.id_spellings import unmatched_id_warnings
from medfl.data.layouts.sources import require_inside
from medfl.data.layouts.table import Table, get_column, get_optional_column, read_table
from medfl.data.layouts.unread_columns import unread_column_warnings
from medfl.data.patient_ids import split_issuer
from medfl.data.spelling import fold_id, fold_name, is_blank
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study

_PARTICIPANT = "participant_id"  # column of BIDS
_SUBJECT = "sub-"


@dataclass(frozen=True)
class PatientRow:
    """What a table says of a patient, or of a case where the layout names no patients.

    Parameters
    ----------
    label, split, annotated : str
        Cells, empty where there is none.
    patient : str
        Whose the case is, where the table says it.
    problem : DataError, optional
        Why it cannot be used: another row says something else.
    """

    label: str = ""
    split: str = ""
    annotated: str = ""
    patient: str = ""
    problem: DataError | None = None


@dataclass(frozen=True)
class _Rows:
    """Rows of a table by the id of the patient, without the prefix; of cases with their patients, by the name of the case."""

    by_id: dict[str, PatientRow]
    prefix: str
    of_cases: bool
    of_patients: bool  # whether the ids are said to be those of patients
    warnings: list[Finding]


def patient_table_path(site: Site, layout: str) -> Path:
    """Return where the table of a layout lies, or would lie: ``participants.tsv`` of BIDS, else the site's index."""
    return find_table(site.root, PARTICIPANTS_FILE if layout == "bids" else site.data.index)


def apply_patient_table(listing: Listing, site: Site, study: Study, layout: str) -> Listing:
    """Return a listing with what the site's table of patients says: their classes in classification, splits, annotated classes.

    The table is ``participants.tsv`` of BIDS, else the site's index. Ids are compared as text. Where the layout names no
    patients (nnU-Net, Decathlon), its rows are of cases, and a column with the patient says whose each is.

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
        has one; ``ID-MISSING`` when a table of cases names none of those that are here.
    """
    classes = study.task.kind == "classification" and bool(site.data.label)
    path = patient_table_path(site, layout)
    named = site.data.index != SiteData().index and layout != "bids"
    if layout == "csv" or not (classes or named or path.is_file()):
        return listing
    try:
        rows = _read_rows(path, site, listing, layout, classes=classes)
    except DataError as error:
        if classes or error.code == "INDEX-COLUMN" or layout in CASE_LAYOUTS:  # it may say whose the cases are
            raise
        return replace(listing, warnings=(*listing.warnings, Finding.from_error(error, level="warning")))
    listing = _apply_rows(listing, rows, classes=classes) if rows.by_id else listing
    return replace(listing, warnings=(*listing.warnings, *rows.warnings))


def _apply_rows(listing: Listing, rows: _Rows, *, classes: bool) -> Listing:
    ids = {entry.patient: _id_in_table(split_issuer(entry.patient)[0], rows.prefix) for entry in listing.entries}
    found = {patient: rows.by_id[one] for patient, one in ids.items() if one in rows.by_id}
    if rows.of_cases and not found:
        what = "the index says whose the cases are, and none of the cases that it names is one of those found here."
        raise DataError("ID-MISSING", what, f"Write the cases in the column {CASE_COLUMN!r} as their files are named.")
    if any(row.split for row in rows.by_id.values()) and not any(row.split for row in found.values()):
        said = ["the table names splits, and none of the patients that it names is one of those found here."]
        said += [f"[{one.code}] {one.what}" for one in unmatched_id_warnings(rows.by_id, set(ids.values()))]
        fix = "Write the ids as they are with the images, or remove the column 'split'."
        raise DataError("SPLIT-MISSING", " ".join(said), fix)
    entries = []
    for entry in listing.entries:
        row = found.get(entry.patient, PatientRow())
        label = row.label if classes and not isinstance(entry.label, DataError) else entry.label
        patient = row.patient if rows.of_cases else entry.patient
        entries.append(replace(entry, patient=patient, label=row.problem or label, split=row.split, annotated=row.annotated))
    warnings = unmatched_id_warnings(rows.by_id, set(ids.values()))
    return replace(
        listing,
        entries=tuple(entries),
        patient_ids=listing.patient_ids or rows.of_cases,
        folder_ids=listing.folder_ids - found.keys() if rows.of_patients else listing.folder_ids,
        warnings=(*listing.warnings, *warnings),
    )


def missing_patient_warnings(listing: Listing, site: Site, layout: str) -> list[Finding]:
    """Return a warning about patients or cases that a table names, or a folder of BIDS, and of which there is no image.

    Parameters
    ----------
    listing : Listing
        What a layout found, before a table said whose the cases are.
    site : Site
        Names the table and its columns.
    layout : str
        Name of the layout. One that reads its index itself asks for each image that it names.
    """
    if layout == "csv":
        return []
    prefix = _SUBJECT if layout == "bids" else ""
    named = {folder.name for folder in site.root.glob(f"{_SUBJECT}*/")} if layout == "bids" else set()
    path, cases = patient_table_path(site, layout), {entry.patient for entry in listing.entries}
    try:
        require_inside(site.root, path)
        table = read_table(path, site.data.patient, site.data.label)
        if layout in CASE_LAYOUTS and has_column(table.columns, CASE_COLUMN):
            named.update(case_of_cell(cell, cases) for cell in get_column(table, CASE_COLUMN))
        else:
            named.update(get_column(table, patient_column(table, site, prefix)))
    except DataError:  # who needs the table says what is wrong with it
        pass
    # one whose id is only spelt otherwise is told as such
    found = {fold_id(_id_in_table(split_issuer(patient)[0], prefix)) for patient in cases}
    missing = {_id_in_table(patient, prefix) for patient in named if patient}
    count = sum(fold_id(patient) not in found for patient in missing)
    if not count:
        return []
    whose = "case(s)" if layout in CASE_LAYOUTS else "patient(s)"
    what = f"{count} {whose} are named by the table or a folder, and no image of them was found for the study."
    fix = "Look for images that were not copied, cannot be read, or lie in an archive; take rows out that belong to nobody."
    return [Finding.warning("ID-NO-IMAGE", what, fix)]


def _read_rows(path: Path, site: Site, listing: Listing, layout: str, *, classes: bool) -> _Rows:
    """Return the rows of a table by patient or case, none where it says nothing that is needed."""
    require_inside(site.root, path)
    table = read_table(path, site.data.patient, site.data.label)
    prefix = _SUBJECT if layout == "bids" else ""
    cases = {entry.patient for entry in listing.entries} if layout in CASE_LAYOUTS else set[str]()
    of_cases = layout in CASE_LAYOUTS and names_patients_of_cases(table, site, cases)
    warnings = unread_column_warnings(table, site.data)
    if site.data.patient and not of_cases:
        read = [site.data.patient, site.data.label, *([_PARTICIPANT] if prefix else [])]
        warnings += unread_person_warnings(table, read, of_cases=layout in CASE_LAYOUTS)
    by_case = of_cases or (has_column(table.columns, CASE_COLUMN) and not has_column(table.columns, site.data.patient))
    rows = _Rows({}, prefix, of_cases, not by_case, warnings)
    optional = [find_optional_column(table.columns, name) for name in (SPLIT_COLUMN, ANNOTATED_COLUMN)]
    if not (classes or of_cases or any(optional)):
        return rows
    ids = get_column(table, CASE_COLUMN if of_cases else patient_column(table, site, prefix))
    nothing = [""] * len(ids)
    labels = get_column(table, site.data.label) if classes else nothing
    splits, annotated = (get_optional_column(table, name) for name in (SPLIT_COLUMN, ANNOTATED_COLUMN))
    patients = get_column(table, site.data.patient) if of_cases else nothing
    for one, label, split, structures, patient in zip(ids, labels, splits, annotated, patients, strict=True):
        if one:
            row, key = PatientRow(label, split, structures, patient), _id_in_table(one, prefix)
            key = case_of_cell(key, cases) if cases else key
            rows.by_id[key] = _join_rows(rows.by_id.get(key, row), row)
    return rows


def patient_column(table: Table, site: Site, prefix: str) -> str:
    """Return the column that names patients: the site's, else that of BIDS or one with the case.

    Raises
    ------
    DataError
        ``INDEX-COLUMN``.
    """
    named = site.data.patient or SiteData().patient
    if named == SiteData().patient:
        if prefix:
            return find_column(table.columns, _PARTICIPANT, rows=table.rows)
        if not has_column(table.columns, named) and has_column(table.columns, CASE_COLUMN):
            return CASE_COLUMN
    return named


def _id_in_table(patient: str, prefix: str) -> str:
    composed = unicodedata.normalize("NFC", patient)
    return composed[len(prefix) :] if composed.casefold().startswith(prefix) else composed


def _join_rows(one: PatientRow, other: PatientRow) -> PatientRow:
    """Return what two rows of a patient say together; one that contradicts another costs the patient, an empty cell nothing."""
    contradictions = {
        "label": ("LBL-CONFLICT", "a patient has two different classes."),
        "split": ("SPLIT-LEAK", "the table puts the patient into two splits."),
        "annotated": ("LBL-CONFLICT", "two rows of a patient name different annotated classes."),
        "patient": ("CASE-CONFLICT", "two rows of a case name different patients."),
    }
    filled: dict[str, str] = {}
    for name, (code, what) in contradictions.items():
        cells = [cell for cell in (getattr(one, name), getattr(other, name)) if not is_blank(cell)]
        if len(set(map(fold_name, cells))) > 1:
            return replace(one, problem=DataError(code, what, "Keep the row that is right."))
        filled[name] = cells[0] if cells else getattr(one, name)
    return PatientRow(**filled, problem=one.problem)
