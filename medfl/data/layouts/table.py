"""Tables: the CSV index of a data folder, as spreadsheets write it."""

from __future__ import annotations

import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from medfl.data.layouts.columns import count_column_names, find_column, find_optional_column
from medfl.data.layouts.json_table import JSON_SUFFIX, open_error, read_json_rows
from medfl.data.layouts.table_text import decode_table, split_rows
from medfl.data.spelling import fold_name, is_blank, parse_whole_number
from medfl.data.split_names import parse_split_name
from medfl.errors import DataError

Row = dict[str, str]
CSV_SUFFIXES = (".csv", ".tsv")
_MAX_TITLES = 10  # lines that may stand above a header
_SHORT = 2  # letters of a name of a split that is also that of something else
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KEPT_TABLES = 2  # as they were read last: every site that is simulated by a column reads the same one
_SETTLED = 2 * 10**9  # nanoseconds after which a file that is changed again shows it by its times


@dataclass(frozen=True)
class Table:
    """A table of text.

    Parameters
    ----------
    columns : tuple of str
        Names, in the order of the file.
    rows : tuple of dict
        Text by column name, without spaces around it; a missing cell is empty.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    _values: dict[str, _Values] = field(default_factory=dict, compare=False, repr=False)

    def values(self, column: str) -> _Values:
        """Return what stands in a column, and where; the rows are gone through once, however often it is asked for."""
        if column not in self._values:
            self._values[column] = _Values.of([row[column] for row in self.rows])
        return self._values[column]


@dataclass(frozen=True)
class _Values:
    """Contents of a column.

    Parameters
    ----------
    rows : mapping of str to list of int
        Numbers of the rows that hold a value.
    spellings : mapping of str to Counter
        Values that `fold_value` makes one, with the number of their rows.
    """

    rows: Mapping[str, Sequence[int]]
    spellings: Mapping[str, Counter[str]]

    @classmethod
    def of(cls, cells: Sequence[str]) -> _Values:
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for number, cell in enumerate(cells):
            rows[cell].append(number)
        spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for cell, numbers in rows.items():
            spellings[fold_value(cell)][cell] = len(numbers)
        return cls(dict(rows), dict(spellings))


def read_table(path: Path, patient: str = "patient", label: str = "label", image: str = "image") -> Table:
    """Read a table with commas, semicolons or tabs, in any encoding of `medfl.data.layouts.table_text`; or one in JSON.

    A process reads a file again only when it has changed.

    Parameters
    ----------
    path : Path
        The file; one that ends with ``.json`` is read by `medfl.data.layouts.json_table`.
    patient, label, image : str
        What columns are called: in a JSON file that has only the values of two, and below a title in another one.

    Raises
    ------
    DataError
        ``INDEX-MISSING`` or ``INDEX-FORMAT``.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        what = "the index is no file, but a folder, a pipe, a socket or a device."
        raise DataError("INDEX-FORMAT", what, "Put the table itself into the data folder.")
    try:
        found = path.stat()
    except OSError:
        return _read_file(path, patient, label, image)  # its error says what is wrong
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED:
        return _read_file(path, patient, label, image)
    stamp = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return _read_settled(path, patient, label, image, stamp)


@lru_cache(maxsize=_KEPT_TABLES)
def _read_settled(path: Path, patient: str, label: str, image: str, stamp: tuple[int, ...]) -> Table:
    return _read_file(path, patient, label, image)


def _read_file(path: Path, patient: str, label: str, image: str) -> Table:
    if path.suffix.lower() == JSON_SUFFIX:
        rows = read_json_rows(path, patient, label)
        columns = tuple(dict.fromkeys(column for row in rows for column in row))
        return Table(columns, tuple({column: row.get(column, "") for column in columns} for row in rows))
    return _read_csv(path, [column for name in (patient, label, *image.split(",")) for column in pattern_columns(name.strip())])


def _read_csv(path: Path, own: Sequence[str]) -> Table:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise open_error(error) from None
    header, *rows = split_rows(decode_table(raw)) or [[]]
    _refuse_titles([header, *rows[:_MAX_TITLES]], own)
    width = max([len(header), *map(len, rows)])
    long = sum(any(cells[len(header) :]) for cells in rows)
    if header and long:
        what = f"{long} row(s) of the index have more cells than there are columns, so the cells are not where they belong."
        raise DataError("INDEX-FORMAT", what, "Put cells that hold the separator in quotation marks.")
    padded = [[*cells, *[""] * (width - len(cells))] for cells in rows]
    named = [k for k, name in enumerate(header) if name]
    # the first column of pandas has no name; another one could be a column that medfl would use if it had one
    nameless = [k for k, name in enumerate(header) if k and not name and any(cells[k] for cells in padded)]
    if nameless:
        what = f"{len(nameless)} column(s) of the index hold values and have no name."
        raise DataError("INDEX-FORMAT", what, "Give each column a name, or remove it.")
    columns = tuple(header[k] for k in named)
    if not columns or len(set(columns)) < len(columns):
        raise DataError("INDEX-FORMAT", "the index is empty, or two of its columns have one name.", "Give each column a name.")
    return Table(columns, tuple({header[k]: cells[k] for k in named} for cells in padded))


def _refuse_titles(rows: Sequence[Sequence[str]], own: Sequence[str]) -> None:
    """Refuse a table with lines above the names of its columns, as a title or the date of an export.

    Names are usual ones, or `own`: those of the site's settings. A row with two of them and no cell twice names columns.
    """
    first = [bool(cell) for cell in rows[0]]
    of_pandas = not any(first[:1]) and any(first) and all(first[1 : sum(first) + 1])  # its first column has no name
    if of_pandas or count_column_names(rows[0], own):
        return
    for number, row in enumerate(rows[1:], start=2):
        # a title without separators leaves the columns unsplit
        cells = [cell for cell in (re.split("[,;\t]", row[0]) if len(row) == 1 else row) if cell]
        if count_column_names(cells, own) > 1 and len({*map(fold_name, cells)}) == len(cells) > sum(first):
            what = f"the names of the columns are in line {number} of the index, below a title."
            raise DataError("INDEX-FORMAT", what, "Remove what stands above them, so that the first line names the columns.")


def get_column(table: Table, name: str) -> list[str]:
    """Return a column.

    Raises
    ------
    DataError
        ``INDEX-COLUMN``.
    """
    column = find_column(table.columns, name, rows=table.rows)
    return [row[column] for row in table.rows]


def get_optional_column(table: Table, name: str) -> list[str]:
    """Return a column that a table need not have; where it has none, nothing for each row.

    Raises
    ------
    DataError
        ``INDEX-COLUMN`` when a column misses the name by little, or there are two.
    """
    column = find_optional_column(table.columns, name)
    return [row[column] if column else "" for row in table.rows]


def fill_pattern(table: Table, pattern: str, *, what: str, section: str = "data") -> list[str]:
    """Return what a column name, or a pattern such as ``images/{id}.nii.gz``, gives for each row.

    A pattern gives an empty text where one of its columns is empty.

    Parameters
    ----------
    table : Table
        The index.
    pattern : str
        Name of a column, or text with names of columns in braces.
    what : str
        The key that names it, for the message.
    section : str
        Table that the key is written in, for the message: ``data`` of the site, or ``simulation`` of a study.

    Raises
    ------
    DataError
        ``INDEX-COLUMN``.
    """
    if "{" not in pattern:
        column = find_column(table.columns, pattern, what, section, rows=table.rows)
        return [row[column] for row in table.rows]
    columns = {name: find_column(table.columns, name, what, section, rows=table.rows) for name in pattern_columns(pattern)}
    return [
        _PLACEHOLDER.sub(lambda m, row=row: row[columns[m[1]]], pattern) if all(row[c] for c in columns.values()) else ""  # type: ignore[misc]
        for row in table.rows
    ]


def pattern_columns(pattern: str) -> list[str]:
    """Return the columns that a pattern needs."""
    return [pattern] if "{" not in pattern else _PLACEHOLDER.findall(pattern)


def fold_value(text: str) -> str:
    """Return a cell so that those which medfl takes for one value are equal: case, blanks and ``.0`` do not count."""
    number = parse_whole_number(text)
    return fold_name(text) if number is None else str(number)


def holds_splits(table: Table, name: str) -> bool:
    """Return whether a column holds nothing but names of splits; one name of two letters alone is a site or a state (VA)."""
    splits = {fold_name(row[name]): parse_split_name(row[name]) for row in table.rows}
    named = {text: split for text, split in splits.items() if split}
    return None not in splits.values() and (len(set(named.values())) > 1 or any(len(text) > _SHORT for text in named))


def holds_splits_among_others(table: Table, name: str) -> bool:
    """Return whether a column holds names of two splits or more, and no more other values than these."""
    texts = {fold_name(row[name]) for row in table.rows if not is_blank(row[name])}
    splits = [split for split in map(parse_split_name, texts) if split]
    return len(set(splits)) > 1 and len(texts) <= 2 * len(splits)
