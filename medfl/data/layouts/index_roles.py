"""Roles of the columns of an index: which names the images, which could be the label, the patient and the hospital."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfl.data.index.walk import is_hidden
from medfl.data.layouts.columns import find_synonyms, has_column
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.likely_index import ImageColumn, find_image_columns, list_image_files
from medfl.data.layouts.table import CSV_SUFFIXES, Table, pattern_columns, read_table
from medfl.data.layouts.table_description import describe_table
from medfl.data.spelling import fold_id, fold_name, is_blank
from medfl.errors import DataError
from medfl.site import SiteData

_HOSPITAL_TEXT = """
    hospital hospitals site sites center centre centers institution institute clinic clinics facility scanner vendor
    manufacturer krankenhaus klinik zentrum standort spital hopital centro
"""
_HOSPITAL_WORDS = frozenset(_HOSPITAL_TEXT.split())
_GROUP_WORDS = frozenset(("group", "source", "cohort", "domain", "gruppe", "quelle"))  # which may as well be something else
_MAX_HOSPITALS = 20


@dataclass(frozen=True)
class IndexRoles:
    """Roles of the columns of an index, as a study and ``site.toml`` write them.

    Parameters
    ----------
    table : Table
        The table.
    image : str
        Column or pattern with the images.
    masks : tuple of str
        Columns or patterns that give masks.
    classes : tuple of str
        Columns of few values, which could be classes; those that are called like a label first.
    patient : str
        Column with the patient; empty when there is none.
    hospitals : tuple of str
        Columns whose values could be hospitals, the likeliest first.
    """

    table: Table
    image: str
    masks: tuple[str, ...]
    classes: tuple[str, ...]
    patient: str
    hospitals: tuple[str, ...]

    def find_blanks(self, name: str) -> tuple[str, int]:
        """Return the condition that leaves out rows in which a column is blank, and how many rows; nothing of a pattern."""
        if "{" in name or not has_column(self.table.columns, name):
            return "", 0
        column = next(each for each in self.table.columns if fold_name(each) == fold_name(name))
        blank = [row[column] for row in self.table.rows if is_blank(row[column]) and fold_name(row[column]) != "none"]
        return (f"{column}!={'|'.join(sorted(set(blank)))}", len(blank)) if blank else ("", 0)


def read_index_roles(root: Path) -> IndexRoles | None:
    """Return the roles of the columns of the one table in a data folder that names images; None where there is none.

    Parameters
    ----------
    root : Path
        Data folder.
    """
    usual = find_table(root, SiteData().index)
    try:
        paths = [usual] if usual.is_file() else _list_tables(root)
        tables = [read_table(path) for path in paths]
        files = list_image_files(root) if tables else {}
        found = [(table, columns) for table in tables if (columns := list(find_image_columns(table, root, files)))]
    except (DataError, OSError):  # who reads it says what is wrong with it
        return None
    return _assign_roles(*found[0], root) if len(found) == 1 else None


def _list_tables(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.suffix.lower() in CSV_SUFFIXES and not is_hidden(path.name))


def _assign_roles(table: Table, files: Sequence[ImageColumn], root: Path) -> IndexRoles | None:
    masks = [one for one in files if one.names_masks]
    images = [one for one in files if one not in masks]
    named = [one for one in images if fold_name(one.name) == SiteData().image or find_synonyms([one.name], "image")]
    image = next(iter([*named, *images]), None)
    if image is None:
        return None
    patient = next(iter(_exact(table, SiteData().patient) or find_synonyms(table.columns, "patient")), "")
    taken = {image.name, patient}
    hospitals = _find_hospitals(table, patient, taken)
    told = describe_table(table, root, patient=patient, label="", image=pattern_columns(image.pattern))
    few = [c.name for c in told.columns if c.kind == "values" and c.different > 1 and c.name in table.columns]
    classes = [name for name in few if name not in {*taken, *hospitals} and name not in told.split_candidates]
    like_label = [name for name in classes if name in find_synonyms(classes, SiteData().label)]
    return IndexRoles(
        table,
        image.pattern,
        tuple(one.pattern for one in masks),
        tuple(dict.fromkeys([*like_label, *classes])),
        patient,
        hospitals,
    )


def _exact(table: Table, name: str) -> list[str]:
    return [column for column in table.columns if fold_name(column) == name]


def _find_hospitals(table: Table, patient: str, taken: set[str]) -> tuple[str, ...]:
    found = []
    for words in (_HOSPITAL_WORDS, _GROUP_WORDS):
        for column in table.columns:
            called = words & set(re.split("[^a-z]+", fold_name(column)))
            if called and column not in taken and _holds_hospitals(table, column, patient):
                found.append(column)
    return tuple(found)


def _holds_hospitals(table: Table, column: str, patient: str) -> bool:
    """Return whether the values of a column can be hospitals: a few, of plain names, each patient at one of them."""
    values = {row[column] for row in table.rows} - {""}
    if not 2 <= len(values) <= _MAX_HOSPITALS or any(sign in value for value in values for sign in ";|"):
        return False
    homes = defaultdict(set)
    for row in table.rows:
        if patient and row[patient] and row[column]:
            homes[row[patient]].add(row[column])
    return len({fold_id(value) for value in values}) == len(values) and all(len(each) == 1 for each in homes.values())
