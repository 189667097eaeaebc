"""Screen of what a table of a site holds, for `medfl data index` and `medfl data check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from medfl.cli.console import output
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.data.layouts.table_description import TableDescription
    from medfl.data.quality.class_balance import ClassCount


def print_table(found: TableDescription) -> None:
    """Print what the columns of a table hold, and which of them could be the label or the split."""
    from medfl.data.layouts.table_description import describe_column

    people = f", {plural(found.patients, 'patient')}" if found.patients else ""
    output.print(f"The table has {plural(found.rows, 'row')}{people}.")
    table = Table("column", "filled", "what it holds", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in found.columns:
        table.add_row(Text(column.name), str(column.filled), Text(describe_column(column)))
    output.print(table)
    output.print(found.sentence())


def print_balance(classes: tuple[ClassCount, ...], *, patient_ids: bool) -> None:
    """Print how many cases and patients each class has."""
    if not classes:
        return
    splits = tuple(classes[0].by_split)
    people = "patients" if patient_ids else "images"
    table = Table("class", "cases", people, *splits, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for row in classes:
        table.add_row(Text(row.name), str(row.cases), str(row.patients), *(str(row.by_split[split]) for split in splits))
    output.print(table)
