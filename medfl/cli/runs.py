"""Command `medfl runs`: the runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from medfl.cli.console import output, print_json
from medfl.cli.options import JsonOption

_MAX_RUN_WIDTH = 26
_SHOWN_ERROR = 0.0005  # less does not change the digits of a score


def runs(
    out: Annotated[Path, typer.Argument(help="Folder that holds runs.")] = Path("runs"), as_json: JsonOption = False
) -> None:
    """List the runs in a folder."""
    from medfl.api import list_runs

    found = list_runs(out)
    if as_json:
        print_json([run.as_json() for run in found])
        return
    whole = min(max((len(each.path.name) for each in found), default=0), _MAX_RUN_WIDTH)  # a person copies it
    name = Column("run", min_width=whole, overflow="fold")
    table = Table(Column("study", overflow="fold"), name, "status", "rounds", "sites", "score")
    for run in found:
        if run.score is None and run.test_score is not None:  # hospitals may tell scores in the test alone
            bound = f" ±{run.test_error:.2g}" if run.test_error >= _SHOWN_ERROR else ""
            score = f"{run.test_score:.3f}{bound} (test)"
        else:
            score = "–" if run.score is None else f"{run.score:.3f}"
        table.add_row(run.study, run.path.name, run.status, str(run.rounds), str(run.sites), score)
    output.print(table if found else f"There is no run in {out}.")
