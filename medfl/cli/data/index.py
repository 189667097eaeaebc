"""`medfl data index`: what lies in a hospital's data folder, in numbers, and read once so that the next look is fast."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from medfl.cli.console import errors, output, print_json
from medfl.cli.data.table_screen import print_table
from medfl.cli.options import JsonOption
from medfl.cli.progress import show_progress
from medfl.system.text import plural

if TYPE_CHECKING:
    from medfl.data.listed_images import ListedImages
    from medfl.data.overview import Overview


def index(
    site_file: Annotated[Path, typer.Argument(metavar="SITE.toml", help="The hospital's site.toml, or its folder.")],
    as_json: JsonOption = False,
) -> None:
    """Find out what lies in a hospital's data folder. It can be stopped at any time, and goes on where it was.

    Shows numbers only: no names, paths or patient ids.
    """
    from medfl.data.overview import make_overview
    from medfl.site import read_site

    site = read_site(site_file)
    with show_progress("Reading headers", quiet=as_json) as advance:
        found = make_overview(site, advance)
    if as_json:
        document = {**asdict(found), "account": found.account.to_json()}
        print_json(document)
    else:
        _print_overview(found)


def _print_overview(found: Overview) -> None:
    table = Table("", "files", "series", "studies", "patients", box=None, padding=(0, 2))
    for name, kind in found.dicom.items():
        table.add_row(f"DICOM {name}", str(kind.files), str(kind.series), str(kind.studies), str(kind.patients))
    rest = {
        "NIfTI": found.nifti,
        "images": found.images,
        "DICOM without header": found.headerless,
        "unreadable DICOM": found.unreadable,
        "other": found.other,
    }
    for name, count in rest.items():
        if count:
            table.add_row(name, str(count))
    if table.row_count:
        output.print(table)
    how = ("found, not set" if found.found else "set") if found.layout else ""
    output.print(f"Layout: {f'{found.layout} ({how})' if found.layout else 'none that medfl knows'}.")
    if found.listed:
        _print_listed(found.listed)
    elif found.dicom:
        output.print(f"{plural(found.dicom_patients, 'patient')}, by the ids in the DICOM headers.")
    for warning in found.warnings:
        errors.print(f"{warning[0].upper()}{warning[1:]}", style="yellow")
    if found.table:
        print_table(found.table)
    output.print(str(found.account), style="dim")
    speed = f", {found.files / found.seconds:.0f} files per second" if found.seconds else ""
    opened = f"{found.opened} {'was' if found.opened == 1 else 'were'} opened"
    output.print(f"{plural(found.files, 'file')} in {found.seconds:.1f} s{speed}; {opened}.")
    if not found.remembered:
        errors.print("The index could not be kept: check resources.store in the site.toml.", style="yellow")


def _print_listed(listed: ListedImages) -> None:
    ids = plural(listed.patients, "patient")
    people = f"of {ids}" if listed.patient_ids else "without ids of patients: one image counts as one patient"
    masks = f"; {listed.masks} with a mask" if listed.masks else ""
    codes = ", ".join(f"{count} {code}" for code, count in listed.problems.items())
    missing = f"; {listed.missing} not found, or not usable ({codes})" if listed.missing else ""
    output.print(f"{plural(listed.images, 'image')} {people}{masks}{missing}.")
    if listed.missing:
        output.print("'medfl data check' says what to do about what cannot be used.", style="dim")
