"""`medfl data fingerprint`: what would leave a hospital for a common plan, for the hospital to read first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medfl.cli.console import output
from medfl.cli.options import JsonOption
from medfl.cli.progress import show_progress
from medfl.system.text import plural


def fingerprint(
    site_file: Annotated[Path, typer.Argument(metavar="SITE.toml", help="The hospital's site.toml, or its folder.")],
    study_folder: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study, or its pyproject.toml.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file to write; its folder is made, an existing file overwritten.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write what this site would share of its images for a common plan: counts in bins and sums, no case. Nothing is sent."""
    from medfl.data.site_fingerprint import compute_fingerprint
    from medfl.planning.fingerprint_serialization import to_json
    from medfl.site import read_site
    from medfl.study import read_study
    from medfl.system.files import write_private

    site, study = read_site(site_file), read_study(study_folder)
    with show_progress("Reading the images", quiet=as_json) as advance:
        taken = compute_fingerprint(site, study, advance)
    text = to_json(taken.fingerprint)
    if out is not None:
        write_private(out, f"{text}\n".encode(), "the fingerprint")
    if as_json:
        output.print_json(text)
        return
    left_out = len({finding.case for finding in taken.findings if finding.level == "error"})
    where = f"It is in {out}; nothing was sent." if out else "Name a file with --out to read it; nothing was sent."
    output.print(f"Fingerprint of {plural(taken.fingerprint.cases, 'case')}, {left_out} left out.")
    output.print(where, soft_wrap=True)
