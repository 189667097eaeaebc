"""Entries that a layout finds in a data folder, before any image is read or given a pseudonym; the same for every layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.errors import DataError

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
    damaged_files : tuple of Path
        Files for which the image was refused: damaged, in doubt, or named by a ``DICOMDIR`` and missing.
    """

    key: str
    patient: str
    image: Source | DataError
    label: Source | str | DataError
    split: str = ""
    annotated: str = ""
    image_files: tuple[Path, ...] = ()
    label_files: tuple[Path, ...] = ()
    damaged_files: tuple[Path, ...] = ()


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
    channels : tuple of str
        Names of the channels of each image, in the order of its files, volumes or selections; empty when the layout names none.
    not_meant : frozenset of str
        Paths of images of the study's modality that its or the site's `select` does not mean.
    tables : frozenset of str
        Paths of the tables and descriptions that were read.
    folder_ids : frozenset of str
        Patients who are only called as their folders are, which no table repeats as the id of a patient.
    """

    entries: tuple[Entry, ...]
    patient_ids: bool
    warnings: tuple[Finding, ...] = ()
    channels: tuple[str, ...] = ()
    not_meant: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    folder_ids: frozenset[str] = frozenset()


def missing_label_error() -> DataError:
    """Return the error of an image that has no label."""
    return DataError("LBL-MISSING", "the image has no label.", "Add the label, or leave the case out.")


def missing_image_error() -> DataError:
    """Return the error of a label that has no image."""
    return DataError("IMG-MISSING", "there is a label but no image.", "Add the image, or leave the case out.")
