"""Unread columns: those that may be meant as one that medfl knows, and are called otherwise."""

from __future__ import annotations

from collections.abc import Collection

from medfl.data.findings import Finding
from medfl.data.layouts.columns import ANNOTATED_COLUMN, SPLIT_COLUMN, find_synonyms, has_column, show_columns
from medfl.data.layouts.table import Table, holds_splits, holds_splits_among_others, pattern_columns
from medfl.data.spelling import fold_name
from medfl.site import SiteData

_DRAWN = "medfl draws the splits itself."
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
    read = {fold_name(name) for part in parts for name in pattern_columns(part.strip())}
    rest = [column for column in table.columns if fold_name(column) not in read]
    warnings = []
    if not has_column(table.columns, SPLIT_COLUMN) and table.rows:
        holding = [name for name in rest if holds_splits(table, name) or holds_splits_among_others(table, name)]
        if holding:
            what = f"{_name(table, holding)} holds train, validation or test, and is not called 'split': {_DRAWN}"
            warnings.append(Finding.warning("SPLIT-UNREAD", what, _TO_SPLIT))
        elif named := find_synonyms(rest, SPLIT_COLUMN):
            what = (
                f"{_name(table, named)} may say which images are for the test, and is not read: medfl draws the splits itself."
            )
            warnings.append(Finding.warning("SPLIT-UNREAD", what, _TO_SPLIT))
    if not has_column(table.columns, ANNOTATED_COLUMN) and (named := find_synonyms(rest, ANNOTATED_COLUMN)):
        what = f"{_name(table, named)} may say which classes were looked for, and is not read."
        fix = "If it does, call it 'annotated', with names of classes in each row, as 'liver, lesion'."
        warnings.append(Finding.warning("INDEX-COLUMN", what, fix))
    return warnings


def _name(table: Table, columns: Collection[str]) -> str:
    shown = show_columns(table.columns, rows=table.rows)
    first = shown[next(iter(columns))]
    one = first if first.startswith("column ") else f"column {first!r}"
    return one if len(columns) == 1 else f"{one}, like {len(columns) - 1} more,"
