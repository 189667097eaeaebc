"""`medfl doctor`: what is wrong with a site or a server before a study finds out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from medfl.cli.console import output
from medfl.cli.options import JsonOption

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder of a site, or of a federation's server.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Check a site or a server: keys, clocks, network, versions, disk, memory, data. Exit code 1 when something is wrong."""
    from medfl.deploy.doctor.folder_checks import check_folder

    findings = []
    for finding in check_folder(folder):
        findings.append(finding)
        if not as_json:
            mark, style = _MARKS[finding.level]
            output.print(Text(f"{mark} {finding.what}", style if finding.level != "ok" else ""), highlight=False)
            if finding.fix:
                output.print(Text(f"  {finding.fix}", "dim"), highlight=False)
    if as_json:
        output.print_json(json.dumps([finding.as_json() for finding in findings]))
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)
