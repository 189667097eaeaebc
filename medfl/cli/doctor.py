"""Command `medfl doctor`: checks of a site or a server, before a study needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from medfl.cli.console import output, print_json
from medfl.cli.options import JsonOption

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder of a site, or of a federation's server.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Check a site or a server: keys, clocks, network, versions, disk, memory, data. Exit code 1 when something is wrong."""
    from medfl.deploy.doctor.folder_checks import check_folder

    results = []
    for result in check_folder(folder):
        results.append(result)
        if not as_json:
            mark, style = _MARKS[result.level]
            output.print(Text(f"{mark} {result.what}", style if result.level != "ok" else ""))
            if result.fix:
                output.print(Text(f"  {result.fix}", "dim"))
    if as_json:
        print_json([result.as_json() for result in results])
    if any(result.level == "error" for result in results):
        raise typer.Exit(1)
