"""Selection of the rows of an index by conditions on their columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medfl.data.layouts.columns import find_column
from medfl.data.layouts.table import Row, Table, fold_value
from medfl.errors import DataError

_Condition = tuple[str, set[str], bool]  # a column, its values, and whether they are dropped rather than kept


def filter_rows(table: Table, conditions: str) -> Table:
    """Keep the rows that meet all conditions.

    Parameters
    ----------
    table : Table
        The index.
    conditions : str
        Joined by semicolons: ``column=a|b`` keeps the rows with one of these values, ``column!=a|b`` drops them, and
        ``column!=`` drops the empty ones.

    Raises
    ------
    DataError
        ``INDEX-WHERE`` or ``INDEX-COLUMN``.

    Examples
    --------
    >>> table = Table(("view", "mask"), ({"view": "PA", "mask": "1"}, {"view": "AP", "mask": ""}))
    >>> len(filter_rows(table, "view=PA|AP; mask!=").rows)
    1
    """
    parsed = _parse_conditions(table, conditions)
    return Table(table.columns, tuple(row for row in _find_candidates(table, parsed) if _meets_all(row, parsed)))


def count_blank_rows(table: Table, conditions: str) -> int:
    """Return how many rows are left out only because a cell that is to have some value is empty."""
    parsed = _parse_conditions(table, conditions)
    asked = [name for name, wanted, drop in parsed if not drop and "" not in wanted]
    blank = sorted({number for name in asked for number in table.values(name).rows.get("", ())})
    return sum(
        all(((row[name] in wanted) != drop) or not (row[name] or drop) for name, wanted, drop in parsed)
        for row in (table.rows[number] for number in blank)
    )


def count_unmet_values(table: Table, conditions: str) -> int:
    """Return how many values of the conditions no row has, as a misspelt one: it chooses nothing."""
    parsed = _parse_conditions(table, conditions)
    return sum(value not in table.values(name).rows for name, wanted, _ in parsed for value in wanted - {""})


def _find_candidates(table: Table, conditions: Sequence[_Condition]) -> Sequence[Row]:
    """Return the rows that can meet all conditions: those with the values that one of them keeps, the fewest there are."""
    kept = [
        [number for value in wanted for number in table.values(name).rows.get(value, ())]
        for name, wanted, drop in conditions
        if not drop
    ]
    if not kept:
        return table.rows
    fewest = min(kept, key=len)
    return [table.rows[number] for number in sorted(fewest)]


def _meets_all(row: Row, conditions: Sequence[_Condition]) -> bool:
    return all((row[name] in wanted) != drop for name, wanted, drop in conditions)


def _parse_conditions(table: Table, conditions: str) -> list[_Condition]:
    """Return column, values, and whether they are dropped rather than kept."""
    found = []
    for condition in filter(None, (part.strip() for part in conditions.split(";"))):
        name, equals, values = condition.partition("=")
        drop = name.endswith("!")
        name = name.removesuffix("!").strip()
        if not equals or not name:
            fix = "Write column=a|b or column!=a|b, joined by semicolons."
            raise DataError("INDEX-WHERE", "a condition of 'where' is neither column=value nor column!=value.", fix)
        column = find_column(table.columns, name, "where", rows=table.rows)
        wanted = {value.strip() for value in values.split("|")}
        _refuse_other_spellings(table, column, wanted)
        found.append((column, wanted, drop))
    return found


def _refuse_other_spellings(table: Table, column: str, wanted: set[str]) -> None:
    """Refuse a condition that misses cells by case, blanks or ``.0`` only: their rows would be chosen the wrong way."""
    spellings = table.values(column).spellings
    folded = {fold_value(value) for value in wanted if value}
    count = sum(number for text in folded for value, number in spellings.get(text, Counter()).items() if value not in wanted)
    if count:
        what = f"{count} row(s) differ from a value of 'where' only in case, blanks or '.0'."
        raise DataError("INDEX-WHERE", what, "Name each spelling, joined by |, or write the cells alike.")
