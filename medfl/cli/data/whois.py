"""`medfl data whois`: which files are behind a pseudonym. For people at the hospital, on its own machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfl.cli.console import errors, output
from medfl.data.patient_ids import split_issuer

if TYPE_CHECKING:
    from medfl.data.index.case_records import CaseRecord
    from medfl.site import Site

_MAX_FILES = 12  # files of a series
_MISSING_CODES = {"image": "IMG-MISSING", "label": "LBL-MISSING"}


def whois(
    pseudonym: Annotated[str, typer.Argument(help="pat-... or case-..., as a report or log shows it.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="The hospital's site.toml, its folder, data that was predicted, or a simulated run."
        ),
    ],
    every: Annotated[bool, typer.Option("--all", help="List all files, however many.")] = False,
) -> None:
    """Tell which patient and files are behind a pseudonym. What it prints identifies a patient: it must stay here.

    It knows what the last look at the data found, by 'medfl data check', 'medfl data prepare' or a study, and what was wrong
    with the pixels when they were read. Of a case that was refused it opens the files, and names those that are damaged first.
    Where it is not clear which label is meant, it lists those that may be.
    """
    from medfl.errors import DataError

    wanted = pseudonym.strip()
    if not re.fullmatch(r"(pat|case)-[A-Z2-7]+", wanted):
        raise typer.BadParameter("a pseudonym looks like pat-XXXX or case-XXXX", param_hint="PSEUDONYM")
    sites = _read_sites(data)
    found = [(site, records, copies) for site in sites for records, copies in [_find_records(site, wanted)] if records]
    if not found:
        who = f"site {sites[0].name} knows" if len(sites) == 1 else f"none of the {len(sites)} sites of the run knows"
        what = f"{who} {'no' if len(sites) == 1 else 'any'} such pseudonym."
        raise DataError("WHOIS-UNKNOWN", what, "Run 'medfl data check' first; pseudonyms differ from site to site.")
    errors.print("This identifies a patient. Do not copy it out of this machine.", style="bold yellow")
    for site, records, copies in found:
        _print_records(site, records, copies, every=every)


def _read_sites(path: Path) -> tuple[Site, ...]:
    """Return the hospital that some data is of, or those of a simulated run."""
    from medfl.data.data_folder import open_data_folder
    from medfl.data.simulated_sites import read_simulated_sites
    from medfl.runs.run_folder import STUDY_JSON, Run

    if (path / STUDY_JSON).is_file():
        return read_simulated_sites(Run.open(path).app.simulation)
    return (open_data_folder(path).site,)


def _find_records(site: Site, wanted: str) -> tuple[list[CaseRecord], list[list[CaseRecord]]]:
    """Return the cases of a pseudonym at one site, and of each those that show the same image."""
    from medfl.data.index.case_records import find_cases
    from medfl.data.index.database import IndexDatabase
    from medfl.data.store.cache_key import site_root

    database = IndexDatabase(site_root(site), site.root)
    try:
        records = find_cases(database, wanted)
        return records, [[found for name in record.copies for found in find_cases(database, name)] for record in records]
    finally:
        database.close()


def _print_records(site: Site, records: Sequence[CaseRecord], copies: Sequence[Sequence[CaseRecord]], *, every: bool) -> None:
    from medfl.data.damaged_files import find_damaged_files
    from medfl.data.index.case_records import USABLE

    for record, others in zip(records, copies, strict=True):
        refused = {record.status, record.read} - {"", USABLE, *_MISSING_CODES.values()}
        named = [site.root / name for name in (*record.image, *record.label)] if refused else []
        _print_record(record, site.root, every=every, damaged=find_damaged_files(named, site.data))
        for other in others:
            if other.study == record.study:
                output.print("  the same image is there as:")
                _print_record(other, site.root, every=every, indent="    ")


def _print_record(
    record: CaseRecord, root: Path, *, every: bool, indent: str = "", damaged: Sequence[tuple[Path, str]] = ()
) -> None:
    from medfl.data.index.case_records import ASSUMED_STUDY

    study = "no study" if record.study == ASSUMED_STUDY else f"study {record.study}"
    lines = [
        f"{record.case}  {record.patient or '(no patient id)'}  {study}  {_format_status(record)}",
        f"  patient id: {_format_id(record.original)}",
        *(f"  {text}" for text in _format_damages(record, root, damaged)),
        *(f"  {text}" for text in _format_files("image", record.image, root, record, every=every)),
        *(f"  {text}" for text in _format_files("label", record.label, root, record, every=every)),
        *([f"  label: {record.text}"] if record.text else []),
        *([f"  annotated: {', '.join(record.annotated)}"] if record.annotated else []),
        *([f"  split: {record.split}"] if record.split else []),
    ]
    for line in lines:
        output.print(f"{indent}{line}", soft_wrap=True)


def _format_id(original: str) -> str:
    number, issuer = split_issuer(original)
    return f"{number} (issuer {issuer})" if issuer else number or "(none)"


def _format_status(record: CaseRecord) -> str:
    if record.status in _MISSING_CODES.values() and record.read not in ("", "usable"):
        return f"{record.read}, {record.status}"  # what lacks nothing but its label was read all the same
    if record.status != "usable":
        return record.status
    return record.read or "usable by its headers; its files were not read then"


def _format_damages(record: CaseRecord, root: Path, damaged: Sequence[tuple[Path, str]]) -> list[str]:
    """Return the files for which the case was refused, or that cannot be read now, each with its code."""
    codes = {root / name: record.status for name in record.damaged} | dict(damaged)
    return [f"{'damaged' if os.path.lexists(path) else 'missing'}: {path} ({code})" for path, code in codes.items()]


def _format_files(what: str, names: tuple[str, ...], root: Path, record: CaseRecord, *, every: bool) -> list[str]:
    if _MISSING_CODES[what] == record.status:
        gone = [name for name in names if not os.path.exists(root / name)]
        return [f"{what}, named but missing: {root / name}" for name in gone]
    name = f"{what}, one of {len(names)}" if what == "label" and len(names) > 1 else what
    shown = names if every else names[:_MAX_FILES]
    more = [f"{what}: and {len(names) - len(shown)} more"] if len(shown) < len(names) else []
    return [*(f"{name}: {root / file}" for file in shown), *more]
