"""Entries that a layout finds in a data folder, before any image is read or given a pseudonym; the same for every layout."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.layouts.columns import has_column
from medfl.data.layouts.sources import require_inside
from medfl.data.layouts.table import get_column, read_table
from medfl.errors import DataError
from medfl.site import Site, SiteData

CASE_COLUMN = "case"  # column of a table with one row a case, where it names no patients


@dataclass(frozen=True)
class Entry:
    """One image that a layout found, with the identity of its patient. It never leaves the site.

    Parameters
    ----------
    key : str
        Unique key of the case at this site.
    patient : str
        Original id; empty when the layout has one but this case lacks it.
    image : Source or DataError
        The image, or why there is none.
    label : Source, str or DataError
        The mask, the text of the class, or why there is none.
    split : str
        Split that the index gives.
    annotated : str
        Foreground classes that were looked for, with commas between them, as the index has it; empty: as the site says.
    image_files, label_files : tuple of Path
        Where there is an error instead: the files that were named, or that may be meant, for people on this machine.
    """

    key: str
    patient: str
    image: Source | DataError
    label: Source | str | DataError
    split: str = ""
    annotated: str = ""
    image_files: tuple[Path, ...] = ()
    label_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Everything that a layout found.

    Parameters
    ----------
    entries : tuple of Entry
        Entries in a fixed order.
    patient_ids : bool
        Whether the layout names patients.
    warnings : tuple of Finding
        About the folder as a whole.
    """

    entries: tuple[Entry, ...]
    patient_ids: bool
    warnings: tuple[Finding, ...] = ()


def missing_label_error() -> DataError:
    """Return the error of an image that has no label."""
    return DataError("LBL-MISSING", "the image has no label.", "Add the label, or leave the case out.")


def missing_image_error() -> DataError:
    """Return the error of a label that has no image."""
    return DataError("IMG-MISSING", "there is a label but no image.", "Add the image, or leave the case out.")


def read_class_texts(site: Site, index: Path) -> dict[str, str]:
    """Return the class text of each patient from a table with one row a patient.

    For layouts whose files carry no class: the columns are the `patient` (or ``case``) and `label` of the site. Ids are
    compared as text.

    Parameters
    ----------
    site : Site
        Names the columns.
    index : Path
        The table.

    Raises
    ------
    DataError
        ``INDEX-MISSING``, ``INDEX-PATH``, ``INDEX-COLUMN``, or ``LBL-CONFLICT`` when a patient has two classes.
    """
    if not site.data.label:
        return {}
    require_inside(site.root, index)
    table = read_table(index, site.data.patient, site.data.label)
    named = site.data.patient
    if named == SiteData().patient and not has_column(table.columns, named) and has_column(table.columns, CASE_COLUMN):
        named = CASE_COLUMN
    patients, labels = get_column(table, named), get_column(table, site.data.label)
    texts: dict[str, str] = {}
    for patient, label in zip(patients, labels, strict=True):
        if patient and texts.setdefault(patient, label) != label:
            raise DataError("LBL-CONFLICT", "a patient has two different classes.", "Give each patient one class.")
    return texts


def leading_zero_warnings(texts: Collection[str], patients: Collection[str]) -> list[Finding]:
    """Return a warning when ids of a table would fit those of the images if leading zeros did not count.

    It is a suggestion only: ``007`` and ``7`` may well be two patients.
    """
    unmatched = {patient.lstrip("0") for patient in patients if patient not in texts}
    count = len(unmatched & {text.lstrip("0") for text in texts if text not in patients} - {""})
    if not count:
        return []
    what = f"{count} patient(s) have no row in the table, and would have one if leading zeros of ids did not count."
    return [Finding.warning("ID-ZEROS", what, "A spreadsheet has probably removed the zeros: write the ids as text.")]
