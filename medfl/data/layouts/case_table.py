"""Tables of cases: whose each case is, for the layouts that know cases and no patients."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from medfl.data.findings import Finding
from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.layouts.columns import (
    ANNOTATED_COLUMN,
    SPLIT_COLUMN,
    find_column,
    find_optional_column,
    find_synonyms,
    show_columns,
)
from medfl.data.layouts.entries import CASE_COLUMN
from medfl.data.layouts.sources import NIFTI_SUFFIXES
from medfl.data.layouts.table import Table, get_column
from medfl.data.spelling import fold_column, fold_name, is_blank
from medfl.errors import DataError
from medfl.site import Site, SiteData

CASE_LAYOUTS = ("nnunet", "msd")
_PERSON = re.compile(  # folded name of a column that says whose something is: Patienten-ID, subj, Pat.-Nr., pseudonym
    r"(?:anon|study|hospital)?(?:pat|patients?|patienten|paziente|paciente|subj|subjects?|persons?|participants?|probanden|"
    r"proband|teilnehmer|pseudonyme?|individual)(?:ids?|identifier|nr|no|num|number|nummer|numero|code|key|name|uid|pseudonym)?"
    r"|records?(?:id|nr|no|number)|pid|mrn|medicalrecordnumber|pseudoid"
)
_MEASURE = re.compile(r"age|alter|year|jahr|date|datum|size|height|weight|bmi|score|volume|psa|dose|kvp|slices|spacing")
_FEW = 3  # different values of a column that repeat, below which they are classes and not people
_PER_VALUE = 4  # rows, of which a value has no more where it is a person
_DECIMAL = re.compile(r"-?\d+[.,]\d+")
_CHANNEL_NUMBER = re.compile(r"_\d{4}$")  # of nnU-Net, at the end of the name of an image


def names_patients_of_cases(table: Table, site: Site, cases: Collection[str]) -> bool:
    """Return whether a table says of each case whose it is: it has a column ``case`` and that of the patient.

    Parameters
    ----------
    table : Table
        The index of a site whose layout knows no patients.
    site : Site
        Names the column of the patient; empty: every case is another patient.
    cases : collection of str
        The cases that the layout found.

    Raises
    ------
    DataError
        ``INDEX-COLUMN`` when the table names patients in a way that is not understood: to pass over it would let one person
        train and test.
    """
    wanted = site.data.patient
    if not wanted:
        return False
    case, patient = (find_optional_column(table.columns, name) for name in (CASE_COLUMN, wanted))
    if case and patient:
        return True
    if wanted != SiteData().patient:
        find_column(table.columns, wanted, "patient", rows=table.rows)
    of_cases = patient and any(case_of_cell(cell, cases) in cases for cell in get_column(table, patient))
    others = [name for name in table.columns if not fold_column(name).startswith(CASE_COLUMN) and name != patient]
    if (patient and not of_cases) or find_person_columns(others):
        what = "the index names patients, but not in the columns 'case' and 'patient', so nobody knows whose each case is."
        fix = (
            f"Call the column with the names of the cases {CASE_COLUMN!r}, and that with the patient {wanted!r}; or set "
            'patient = "" in [data] if every case is another patient.'
        )
        raise DataError("INDEX-COLUMN", what, fix)
    return False


def find_person_columns(columns: Collection[str]) -> list[str]:
    """Return the columns whose names say that they tell whose something is.

    Examples
    --------
    >>> find_person_columns(["Patienten-ID", "Pat.-Nr.", "record_id", "patient_age", "annotated"])
    ['Patienten-ID', 'Pat.-Nr.', 'record_id']
    """
    meant = find_synonyms(columns, SiteData().patient)
    return [name for name in columns if name in meant or _PERSON.fullmatch(fold_column(name))]


def unread_person_warnings(table: Table, read: Collection[str], *, of_cases: bool) -> list[Finding]:
    """Return a warning about a column that may say whose the rows are, is not read, and has values that repeat.

    Parameters
    ----------
    table : Table
        A table of cases or patients.
    read : collection of str
        Names of the columns that are read.
    of_cases : bool
        Whether the rows are cases of nobody knows whom: then any column may say it, else one with the name for it.
    """
    known = {fold_name(name) for name in (CASE_COLUMN, SPLIT_COLUMN, ANNOTATED_COLUMN, *read)}
    rest = [name for name in table.columns if fold_name(name) not in known]
    repeated = [name for name in (rest if of_cases else find_person_columns(rest)) if _names_people(table, name)]
    if not repeated:
        return []
    shown = show_columns(table.columns, rows=table.rows)[repeated[0]]
    one = shown if shown.startswith("column ") else f"column {shown!r}"
    what = f"{one} of the table has values that repeat, and is not read: if they are people, one may both train and test."
    fix = "If so, say whose each image is: with 'case' and 'patient' beside dataset.json, else in an index of the images."
    return [Finding.warning("INDEX-COLUMN", what, f'{fix} If every case is another patient, set patient = "" in [data].')]


def _names_people(table: Table, name: str) -> bool:
    """Return whether a column has values that repeat as people do: many different ones, none a measure."""
    cells = [fold_name(row[name]) for row in table.rows if not is_blank(row[name])]
    different = len(set(cells))
    if different == len(cells) or different < _FEW or different * _PER_VALUE < len(cells):
        return False
    return not _MEASURE.search(fold_column(name)) and not any(map(_DECIMAL.fullmatch, cells))


def case_of_cell(cell: str, cases: Collection[str]) -> str:
    """Return the case that a cell names, also by the file of its image or mask.

    Examples
    --------
    >>> case_of_cell("imagesTr/liver_1_0000.nii.gz", {"liver_1"}), case_of_cell("liver_2", {"liver_1"})
    ('liver_1', 'liver_2')
    """
    if cell in cases:
        return cell
    name = PurePosixPath(cell.replace("\\", "/")).name
    ending = next((end for end in sorted((*NIFTI_SUFFIXES, *IMAGE_SUFFIXES), key=len, reverse=True) if name.endswith(end)), "")
    name = name.removesuffix(ending)
    short = _CHANNEL_NUMBER.sub("", name)
    return short if name not in cases and short in cases else name
