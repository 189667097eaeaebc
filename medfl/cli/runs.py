"""Commands `medfl runs` and `medfl report`: the runs in a folder, and the report of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from medfl.cli.console import output, print_json
from medfl.cli.options import JsonOption


def runs(
    out: Annotated[Path, typer.Argument(help="Folder that holds runs.")] = Path("runs"), as_json: JsonOption = False
) -> None:
    """List the runs in a folder."""
    from medfl.api import list_runs

    found = list_runs(out)
    if as_json:
        print_json([run.as_json() for run in found])
        return
    table = Table("study", "run", "status", "rounds", "sites", "score")
    for run in found:
        score = "–" if run.score is None else f"{run.score:.3f}"
        table.add_row(run.study, run.path.name, run.status, str(run.rounds), str(run.sites), score)
    output.print(table if found else f"There is no run in {out}.")


def report(run: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Write the HTML report of a run again."""
    from medfl.api import open_run

    output.print(f"Report: {open_run(run).write_report()}", soft_wrap=True)
