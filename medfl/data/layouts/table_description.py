"""Description of a table: what its columns hold, in numbers and names of kinds, for people who have to choose among them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medfl.data.layouts.anonymous_ids import is_placeholder
from medfl.data.layouts.columns import SPLIT_COLUMN, find_synonyms, show_columns
from medfl.data.layouts.file_columns import find_kind_of_files
from medfl.data.layouts.shown_values import is_impersonal_value, is_plain_value, is_private_column
from medfl.data.layouts.table import Table, fold_value, holds_splits
from medfl.data.spelling import fold_id, fold_name, is_blank
from medfl.system.text import plural

Kind = Literal["empty", "patients", "image files", "other files", "splits", "values", "numbers", "private", "many values"]

MAX_VALUES = 20  # a column with more different ones is no list of classes
_FEW = 3  # different values that need not repeat themselves
_WORDS: dict[Kind, str] = {
    "empty": "nothing",
    "patients": "{count} patients",
    "image files": "names of image files ({count} different)",
    "other files": "names of files ({count} different)",
    "numbers": "numbers ({count} different)",
    "private": "ids, dates, names or text, not shown ({count} different)",
    "many values": "many different values ({count})",
}
_MAX_SPELLINGS = 1000  # more different cells are no list of values, however they are spelt


@dataclass(frozen=True)
class ValueCount:
    """One value of a column, with its rows, and its patients where the table names them (else 0)."""

    value: str
    rows: int
    patients: int


@dataclass(frozen=True)
class ColumnDescription:
    """What a column holds.

    Parameters
    ----------
    name : str
        As the table has it, or ``column 3`` where that could be a person's.
    kind : str
        ``"empty"``, ``"patients"``, ``"image files"``, ``"other files"``, ``"splits"``, ``"values"`` that repeat themselves,
        ``"numbers"``, ``"private"`` (ids, dates, people, prose) or ``"many values"``.
    filled, different : int
        Cells that say something, and different values among them.
    values : tuple of ValueCount
        Of values and splits, the most frequent first. Those of one row are left out, but for the label's, and so
        is what may be a date, an id, a name or prose.
    """

    name: str
    kind: Kind
    filled: int
    different: int
    values: tuple[ValueCount, ...] = ()


@dataclass(frozen=True)
class TableDescription:
    """What a table holds.

    Parameters
    ----------
    rows : int
        Rows below the header.
    patients : int
        Different patients that it names; 0 without a column of patients.
    columns : tuple of ColumnDescription
        In the order of the table.
    label : str
        Column that is the label by ``site.toml``; empty when there is none of its name.
    label_candidates, split_candidates : tuple of str
        Columns that could be.
    labels_elsewhere : bool
        Whether masks that lie beside the images can be the labels, so that no column need be.
    """

    rows: int
    patients: int
    columns: tuple[ColumnDescription, ...]
    label: str
    label_candidates: tuple[str, ...]
    split_candidates: tuple[str, ...]
    labels_elsewhere: bool = False

    @property
    def classes(self) -> tuple[ValueCount, ...]:
        """Values of the label, if it is a list of classes."""
        return next((column.values for column in self.columns if column.name == self.label and column.kind == "values"), ())

    def sentence(self) -> str:
        """Return which columns are or could be the label and the split."""
        return " ".join(filter(None, [self._label_sentence(), self._split_sentence()]))

    def _label_sentence(self) -> str:
        files = {column.name for column in self.columns if column.kind == "image files"}
        listed = ", ".join(f"{name} (files)" if name in files else name for name in self.label_candidates if name != self.label)
        if self.label:
            return f"Label: {self.label}." + (f" Others could be: {listed}." if listed else "")
        meant = find_synonyms([name for name in self.label_candidates if not name.startswith("column ")], "label")
        setting = f'set label = "{meant[0]}" in [data] if that is it.' if meant else ""
        if self.labels_elsewhere:
            could = f"For a classification, the label could be: {listed}"
            return f"{could}; {setting}" if setting else f"{could}." if listed else ""
        could = f"Could be: {listed}." if listed else "None looks like one."
        return f"No label is known yet: {setting} {could}" if setting else f"No label is known yet. {could}"

    def _split_sentence(self) -> str:
        used = next((column for column in self.columns if fold_name(column.name) == SPLIT_COLUMN), None)
        if used is None or used.kind == "empty":
            could = ", ".join(self.split_candidates)
            return f"No column is called 'split'. Splits could be in: {could}." if could else "No column gives splits."
        return (
            f"Splits: {used.name}." if used.kind == "splits" else f"Splits: {used.name}, with words that medfl does not know."
        )


def describe_column(column: ColumnDescription) -> str:
    """Return what a column holds in words: its values with their rows, and their patients in brackets where they differ.

    Examples
    --------
    >>> describe_column(ColumnDescription("sex", "values", 5, 2, (ValueCount("F", 3, 2), ValueCount("M", 2, 2))))
    'F 3 (2 patients), M 2'
    >>> describe_column(ColumnDescription("note", "private", 9, 9))
    'ids, dates, names or text, not shown (9 different)'
    """
    if column.kind not in _WORDS:
        shown = [
            f"{one.value} {one.rows}" + (f" ({plural(one.patients, 'patient')})" if 0 < one.patients != one.rows else "")
            for one in column.values
        ]
        rest = column.different - len(column.values)
        return ", ".join([*shown, *([plural(rest, "other value")] if rest else [])])
    return _WORDS[column.kind].format(count=column.different)


def describe_table(
    table: Table, root: Path, *, patient: str, label: str, image: Collection[str] = (), labels_elsewhere: bool = False
) -> TableDescription:
    """Describe a table without a path, id, date or prose of it.

    Parameters
    ----------
    table : Table
        The table.
    root : Path
        Folder that its files lie in.
    patient, label : str
        Names of the columns with the patient and the label; empty for none.
    image : collection of str
        Names of the columns that give images, which are no labels.
    labels_elsewhere : bool
        Whether masks that lie beside the images can be the labels.
    """
    people = _read_people(table, patient)
    ids = {fold_id(person) for person in set(people)} - {""}
    shown = show_columns(table.columns, (patient, label, *image), rows=table.rows)
    described = {}
    for name in table.columns:
        cells = _fold_cells([row[name] for row in table.rows])
        role = "patient" if fold_name(name) == fold_name(patient) else "label" if fold_name(name) == fold_name(label) else ""
        described[name] = _describe_column(shown[name], name, cells, root, people, ids, role=role, table=table)
    images = {shown[name] for name in table.columns if any(fold_name(name) == fold_name(one) for one in image)}
    return TableDescription(
        rows=len(table.rows),
        patients=len(set(people) - {""}),
        columns=tuple(described.values()),
        label=next((shown[name] for name in table.columns if fold_name(name) == fold_name(label)), ""),
        label_candidates=tuple(c.name for name, c in described.items() if _may_be_label(name, c) and c.name not in images),
        split_candidates=tuple(column.name for column in described.values() if column.kind == "splits"),
        labels_elsewhere=labels_elsewhere,
    )


def _read_people(table: Table, column: str) -> list[str]:
    name = next((name for name in table.columns if fold_name(name) == fold_name(column)), None)
    if name is None:
        return [""] * len(table.rows)
    nobody = {cell for cell in {row[name] for row in table.rows} if is_placeholder(cell)}
    return ["" if row[name] in nobody else row[name] for row in table.rows]


def _fold_cells(cells: Sequence[str]) -> list[str]:
    """Return cells with nothing for blanks, and one spelling for what medfl takes for one value; "none" may be a class."""
    counts = Counter(cells)
    chosen = {cell: "" for cell in counts if is_blank(cell) and fold_name(cell) != "none"}
    if len(counts) <= _MAX_SPELLINGS:
        spellings: dict[str, str] = {}
        for cell, _ in counts.most_common():
            chosen.setdefault(cell, spellings.setdefault(fold_value(cell), cell))
    return [chosen.get(cell, cell) for cell in cells]


def _may_be_label(name: str, column: ColumnDescription) -> bool:
    """Return whether a column holds files or a few values, or is called like a label and holds values that are not shown."""
    if column.kind == "image files":
        return True
    few = 1 < column.different <= min(MAX_VALUES, column.filled // 2)
    if column.kind == "private":
        return few and not is_private_column(name) and bool(find_synonyms([name], "label"))
    return column.kind == "values" and column.different > 1 and not find_synonyms([name], SPLIT_COLUMN)


def _describe_column(
    shown: str,
    name: str,
    cells: Sequence[str],
    root: Path,
    people: Sequence[str],
    ids: Collection[str],
    *,
    role: str,
    table: Table,
) -> ColumnDescription:
    counts = Counter(filter(None, cells))
    kind: Kind
    if not counts:
        kind = "empty"
    elif role == "patient":
        kind = "patients"
    elif holds_splits(table, name):
        kind = "splits"
    else:
        kind = find_kind_of_files(counts, root) or _kind_of_values(name, counts, cells, people, ids, role)
    least = 1 if role == "label" or kind == "splits" else 2
    may_show = is_impersonal_value if kind == "values" and role != "label" else is_plain_value
    values = _count_values(counts, cells, people, least, may_show) if kind in ("values", "splits") else ()
    return ColumnDescription(shown, kind, counts.total(), len(counts), values)


def _kind_of_values(
    name: str, counts: Mapping[str, int], cells: Sequence[str], people: Sequence[str], ids: Collection[str], role: str
) -> Kind:
    filled = sum(counts.values())
    if role != "label" and is_private_column(name):
        return "private"
    if len(counts) > min(MAX_VALUES, max(_FEW, filled // 2)):
        return "numbers" if all(map(_is_number, counts)) else "many values"
    may_show = is_plain_value if role == "label" else is_impersonal_value
    plain = sum(count for value, count in counts.items() if may_show(value))
    if 2 * plain < filled or (all(fold_id(value) in ids for value in counts) and any(len(value) > 2 for value in counts)):
        return "private"
    if role != "label" and len(counts) > 1 and _stands_for_patients(cells, people):
        return "private"
    return "values"


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _stands_for_patients(cells: Sequence[str], people: Sequence[str]) -> bool:
    """Return whether each value belongs to one patient only, and each patient has one: another name of them."""
    pairs = {(cell, person) for cell, person in zip(cells, people, strict=True) if cell and person}
    return bool(pairs) and len(pairs) == len({cell for cell, _ in pairs}) == len({person for _, person in pairs})


def _count_values(
    counts: Counter[str], cells: Sequence[str], people: Sequence[str], least: int, may_show: Callable[[str], bool]
) -> tuple[ValueCount, ...]:
    patients: dict[str, set[str]] = defaultdict(set)
    for cell, person in zip(cells, people, strict=True):
        if person:
            patients[cell].add(person)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(ValueCount(value, rows, len(patients[value])) for value, rows in ordered if rows >= least and may_show(value))
