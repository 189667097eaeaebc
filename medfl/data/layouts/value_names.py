"""Names of mask values, as data sets say them: ``labels`` of a ``dataset.json``, and the tables ``*_dseg.tsv`` of BIDS.

What is there and not understood is refused. Without names, values are positions of the study's classes; to fall back to that
would swap classes without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from medfl.data.cases import Source
from medfl.data.classes import IGNORE
from medfl.data.layouts.columns import find_column
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.sources import require_inside
from medfl.data.layouts.table import read_table
from medfl.data.spelling import fold_name, is_blank, parse_whole_number
from medfl.errors import DataError

VALUE_TABLE = "dseg.tsv"  # how the name of a table of BIDS ends that says what the values of masks mean
ValueNames = tuple[tuple[int, str], ...]
_INDEX_COLUMN, _NAME_COLUMN = "index", "name"  # of BIDS; 'mapping' and 'abbreviation' may stand beside them
_EXAMPLE = 'Write it as {"background": 0, "liver": 1}, or {"0": "background", "1": "liver"}.'


def parse_value_names(labels: Any, file: str) -> ValueNames:
    """Return what values mean by ``{"background": 0, "liver": 1}`` (nnU-Net), or ``{"0": "background"}`` (v1, Decathlon).

    Parameters
    ----------
    labels : object
        What the JSON file holds.
    file : str
        Name of the file, for messages.

    Raises
    ------
    DataError
        ``LBL-REGIONS`` for regions of several values, which overlap, or ``INDEX-FORMAT``.
    """
    if not isinstance(labels, dict) or not labels:
        raise DataError("INDEX-FORMAT", f"'labels' of {file} does not give a name for each value.", _EXAMPLE)
    regions = sum(isinstance(value, list) and len(value) > 1 for value in labels.values())
    if regions:
        what = (
            f"{regions} of the labels in {file} are regions of several values, which overlap; medfl gives each voxel one class."
        )
        raise DataError("LBL-REGIONS", what, "Name each value by itself in 'labels', and export the data set again.")
    keys = [parse_whole_number(str(key)) for key in labels]
    values = [_parse_value(value) for value in labels.values()]
    by_key, by_value = None not in keys, None not in values
    if by_key and by_value and keys != values:
        what = f"names and values in 'labels' of {file} are all numbers, so that nobody can tell which is which."
        raise DataError("INDEX-FORMAT", what, "Give the classes names.")
    named = by_key and all(isinstance(value, str) and value.strip() for value in labels.values())
    if by_value:
        pairs = zip(values, labels, strict=True)
    elif named:
        pairs = zip(keys, labels.values(), strict=True)
    else:
        raise DataError("INDEX-FORMAT", f"'labels' of {file} does not give a name for each value.", _EXAMPLE)
    return _sort_pairs(((value, name) for value, name in pairs if value is not None), f"'labels' of {file}", "INDEX-FORMAT")


def read_value_table(path: Path) -> ValueNames:
    """Return what values mean by a table with the columns ``index`` and ``name``.

    A row without a name leaves its value without one.

    Raises
    ------
    DataError
        ``LBL-TABLE``.
    """
    try:
        table = read_table(path)
        index, name = (find_column(table.columns, column) for column in (_INDEX_COLUMN, _NAME_COLUMN))
    except DataError:
        raise _table_error("is no table with the columns 'index' and 'name'") from None
    rows = [(row[index], row[name]) for row in table.rows if not (is_blank(row[index]) and is_blank(row[name]))]
    values = [parse_whole_number(text) for text, _ in rows]
    if None in values or not values:
        raise _table_error("has a row whose 'index' is no whole number" if values else "has no row")
    pairs = ((value, text) for value, (_, text) in zip(values, rows, strict=True) if value is not None and not is_blank(text))
    names = _sort_pairs(pairs, "the table of the values of the mask (dseg.tsv)", "LBL-TABLE")
    if not names:
        raise _table_error("has no name")
    return names


def name_mask_values(listing: Listing, root: Path) -> Listing:
    """Return a listing in which the masks ``*_dseg`` know what their values mean, by the tables that BIDS puts beside them.

    The nearest table counts, in the folder of the mask or one above it up to `root`, of which every entity is one of the mask's
    (the inheritance principle): for ``sub-01_desc-aseg_dseg.nii.gz`` also ``desc-aseg_dseg.tsv`` at the root of a derivative. A
    table that is not understood makes the masks that it governs unusable (``LBL-TABLE``).

    Parameters
    ----------
    listing : Listing
        What a layout found.
    root : Path
        Data folder.

    References
    ----------
    BIDS specification, common principles, "The inheritance principle".
    """
    tables = _ValueTables(root)
    entries = []
    for entry in listing.entries:
        label = entry.label
        if isinstance(label, Source) and label.kind == "nifti" and not label.names and _suffix(label.paths[0]) == "dseg":
            try:
                named = replace(label, names=tables.names_of(label.paths[0]))
                entry = replace(entry, label=named)
            except DataError as error:
                entry = replace(entry, label=error, label_files=label.paths)
        entries.append(entry)
    return replace(listing, entries=tuple(entries), tables=listing.tables | tables.used)


class _ValueTables:
    """Tables of a data folder, each folder listed and each table read once; `used` are the paths of those that count."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.used: set[str] = set()
        self._in_folder = cache(_list_tables)
        self._read = cache(_try_table)

    def names_of(self, mask: Path) -> ValueNames:
        """Return what the values of a mask mean, nothing without a table."""
        entities = _entities(mask)
        for folder in (parent for parent in mask.parents if parent.is_relative_to(self._root)):
            fitting = [path for path in self._in_folder(folder) if _entities(path) <= entities]
            most = max((len(_entities(path)) for path in fitting), default=0)
            nearest = [path for path in fitting if len(_entities(path)) == most]
            if len(nearest) > 1:
                what = f"{len(nearest)} tables in one folder say what the values of the mask mean."
                raise DataError("LBL-TABLE", what, "Keep the one that is meant.")
            if nearest:
                require_inside(self._root, nearest[0])
                self.used.add(os.fspath(nearest[0]))
                names = self._read(nearest[0])
                if isinstance(names, DataError):
                    raise names
                return names
        return ()


def _try_table(path: Path) -> ValueNames | DataError:
    try:
        return read_value_table(path)
    except DataError as error:
        return error


def _parse_value(value: Any) -> int | None:
    """Return the value that stands for a class: a whole number, also as text or in a list of its own."""
    if isinstance(value, list):
        return _parse_value(value[0]) if len(value) == 1 else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return parse_whole_number(str(value))


def _sort_pairs(pairs: Iterable[tuple[int, str]], where: str, code: str) -> ValueNames:
    names: dict[int, str] = {}
    for value, name in pairs:
        if fold_name(names.setdefault(value, name)) != fold_name(name):
            raise DataError(code, f"{where} gives one value two names.", "Give each value one name.")
    return tuple((value, IGNORE if fold_name(name) == IGNORE else name.strip()) for value, name in sorted(names.items()))


def _list_tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(VALUE_TABLE) and _suffix(path) == "dseg")


def _suffix(path: Path) -> str:
    """Return the suffix of a BIDS name, its last part: ``dseg``."""
    return path.name.split(".")[0].split("_")[-1].lower()


def _entities(path: Path) -> frozenset[str]:
    """Return the entities of a BIDS name: ``sub-01``, ``desc-aseg``."""
    return frozenset(path.name.split(".")[0].split("_")[:-1])


def _table_error(why: str) -> DataError:
    what = f"the table that says what the values of the mask mean (dseg.tsv) {why}."
    return DataError("LBL-TABLE", what, "Correct it: 'index' and 'name' for each value, separated by tabs.")
