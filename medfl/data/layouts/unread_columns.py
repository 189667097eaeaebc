"""Unread columns: those that may be meant as one that medfl knows, and are called otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from medfl.data.findings import Finding
from medfl.data.layouts.columns import ANNOTATED_COLUMN, SPLIT_COLUMN, SPLIT_FLAGS, find_synonyms, has_column, show_columns
from medfl.data.layouts.table import Table, holds_splits, holds_splits_among_others, pattern_columns
from medfl.data.spelling import fold_column, fold_name
from medfl.data.split_names import parse_split_name
from medfl.site import SiteData

_DRAWN = "medfl draws the splits itself."
_YES, _NO = {"1", "1.0", "true", "yes", "y", "ja", "j", "x"}, {"0", "0.0", "false", "no", "n", "nein"}
_TO_SPLIT = "Call it 'split', with train, validation or test in each row, if its splits are to be used."


def unread_column_warnings(table: Table, settings: SiteData) -> list[Finding]:
    """Return warnings about columns that may say the split or the annotated classes, where none has the name that is read.

    To pass over them in silence would let images for the test train, and take structures for absent that nobody looked for.

    Parameters
    ----------
    table : Table
        The table.
    settings : SiteData
        Names the columns that are read as something else.
    """
    parts = [*settings.image.split(","), settings.label, settings.patient]
    own = [name for part in parts for name in pattern_columns(part.strip())]
    read = set(map(fold_name, own))
    rest = [column for column in table.columns if fold_name(column) not in read]
    shown = show_columns(table.columns, own, rows=table.rows)
    warnings = _contradiction_warnings(table, rest, shown)
    if not has_column(table.columns, SPLIT_COLUMN) and table.rows:
        holding = [name for name in rest if holds_splits(table, name) or holds_splits_among_others(table, name)]
        if holding:
            what = f"{_name(shown, holding)} holds train, validation or test, and is not called 'split': {_DRAWN}"
            warnings.append(Finding.warning("SPLIT-UNREAD", what, _TO_SPLIT))
        elif named := find_synonyms(rest, SPLIT_COLUMN):
            what = f"{_name(shown, named)} may say which images are for the test, and is not read: {_DRAWN}"
            warnings.append(Finding.warning("SPLIT-UNREAD", what, _TO_SPLIT))
    if not has_column(table.columns, ANNOTATED_COLUMN) and (named := find_synonyms(rest, ANNOTATED_COLUMN)):
        what = f"{_name(shown, named)} may say which classes were looked for, and is not read."
        fix = "If it does, call it 'annotated', with names of classes in each row, as 'liver, lesion'."
        warnings.append(Finding.warning("INDEX-COLUMN", what, fix))
    return warnings


def _contradiction_warnings(table: Table, rest: Collection[str], shown: Mapping[str, str]) -> list[Finding]:
    """Return warnings about columns that say another split than the column ``split`` does: one of the two is wrong."""
    split = next((name for name in table.columns if fold_name(name) == SPLIT_COLUMN), None)
    if split is None:
        return []
    warnings = []
    for column in rest:
        if column == split or not (fold_column(column) in SPLIT_FLAGS or holds_splits(table, column)):
            continue
        count = sum(_contradict(column, row[column], parse_split_name(row[split])) for row in table.rows)
        if count:
            where = f"in {count} of {len(table.rows)} rows"
            what = f"{_name(shown, [column])} contradicts the column 'split' {where}, and is not read."
            fix = "Correct the column 'split' if it is wrong, or remove the other."
            warnings.append(Finding.warning("SPLIT-UNREAD", what, fix))
    return warnings


def _contradict(column: str, cell: str, split: str | None) -> bool:
    """Return whether a cell says another split than one that is known; a flag says of one split whether it is that."""
    if not split:
        return False
    flag = SPLIT_FLAGS.get(fold_column(column))
    if flag and fold_name(cell) in _YES | _NO:
        return (fold_name(cell) in _YES) != (split == flag)
    said = parse_split_name(cell)
    return bool(said) and said != split


def _name(shown: Mapping[str, str], columns: Collection[str]) -> str:
    first = shown[next(iter(columns))]
    one = first if first.startswith("column ") else f"column {first!r}"
    return one if len(columns) == 1 else f"{one}, like {len(columns) - 1} more,"
