"""`medfl data whois`: which files are behind a pseudonym. For people at the hospital, on its own machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfl.cli.console import errors, output

if TYPE_CHECKING:
    from medfl.data.index.cases import Record

_SHOWN = 12  # files of a series


def whois(
    pseudonym: Annotated[str, typer.Argument(help="pat-... or case-..., as a report or log shows it.")],
    site_file: Annotated[Path, typer.Argument(metavar="SITE.toml", help="The hospital's site.toml, or its folder.")],
    every: Annotated[bool, typer.Option("--all", help="List all files, however many.")] = False,
) -> None:
    """Tell which patient and files are behind a pseudonym. What it prints identifies a patient: it must stay here.

    It knows what the last look at the data found, by 'medfl data check', 'medfl data prepare' or a study.
    """
    from medfl.data.index.cases import find_cases
    from medfl.data.index.database import Database
    from medfl.data.store.plan import site_root
    from medfl.errors import DataError
    from medfl.site import read_site

    site = read_site(site_file)
    wanted = pseudonym.strip()
    if not re.fullmatch(r"(pat|case)-[A-Z2-7]+", wanted):
        raise typer.BadParameter("a pseudonym looks like pat-XXXX or case-XXXX", param_hint="PSEUDONYM")
    database = Database(site_root(site), site.root)
    try:
        records = find_cases(database, wanted)
    finally:
        database.close()
    if not records:
        what = f"site {site.name} knows no such pseudonym."
        raise DataError("WHOIS-UNKNOWN", what, "Run 'medfl data check' first; pseudonyms differ from site to site.")
    errors.print("This identifies a patient. Do not copy it out of this machine.", style="bold yellow")
    for record in records:
        _tell(record, site.root, every=every)


def _tell(record: Record, root: Path, *, every: bool) -> None:
    lines = [
        f"{record.case}  {record.patient or '(no patient id)'}  study {record.study}  {record.status}",
        f"  patient id: {record.original or '(none)'}",
        *(f"  image: {text}" for text in _files(record.image, root, every=every)),
        *(f"  label: {text}" for text in record.label),
        *([f"  annotated: {', '.join(record.annotated)}"] if record.annotated else []),
        *([f"  split: {record.split}"] if record.split else []),
    ]
    for line in lines:
        output.print(line, markup=False, highlight=False, soft_wrap=True)


def _files(names: tuple[str, ...], root: Path, *, every: bool) -> list[str]:
    shown = names if every else names[:_SHOWN]
    more = [f"and {len(names) - len(shown)} more"] if len(shown) < len(names) else []
    return [*(str(root / name) for name in shown), *more]
