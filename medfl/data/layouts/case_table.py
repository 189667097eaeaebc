"""Tables of cases: whose each case is, for the layouts that know cases and no patients."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.layouts.columns import find_column, find_optional_column, find_synonyms
from medfl.data.layouts.entries import CASE_COLUMN
from medfl.data.layouts.sources import NIFTI_SUFFIXES
from medfl.data.layouts.table import Table, get_column
from medfl.data.spelling import fold_column
from medfl.errors import DataError
from medfl.site import Site, SiteData

CASE_LAYOUTS = ("nnunet", "msd")
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
        find_column(table.columns, wanted, "patient")
    if patient and any(case_of_cell(cell, cases) in cases for cell in get_column(table, patient)):
        return False  # rows of cases, by another name of the column
    others = [name for name in table.columns if not fold_column(name).startswith(CASE_COLUMN)]
    if patient or find_synonyms(others, SiteData().patient):
        what = "the index names patients, but not in the columns 'case' and 'patient', so nobody knows whose each case is."
        fix = (
            f"Call the column with the names of the cases {CASE_COLUMN!r}, and that with the patient {wanted!r}; or set "
            'patient = "" in [data] if every case is another patient.'
        )
        raise DataError("INDEX-COLUMN", what, fix)
    return False


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
