"""`medfl data check`: what of a site's data can be used, what not, why, and what to do."""

from __future__ import annotations

import json
from contextlib import nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from click.exceptions import BadParameter
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from medfl.cli.console import output
from medfl.cli.data.table_screen import print_balance, print_table
from medfl.cli.options import require_writable
from medfl.cli.progress import show_progress

if TYPE_CHECKING:
    from click import Context

    from medfl.data.quality.facts import SiteCheck

EXIT_DECLINED = 1
_STDOUT = "-"
_STYLES = {"error": "red", "warning": "yellow"}


class ModalityName(StrEnum):
    """Modalities that a check without a study can be limited to."""

    CT = "CT"
    MR = "MR"
    XR = "XR"
    US = "US"


class JsonOptionCommand(TyperCommand):
    """A command whose ``--json`` may be followed by the name of a file that ends in ``.json``."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Give a bare ``--json`` the value that stands for standard output."""
        words = []
        for word, following in zip(args, [*args, ""][1:], strict=True):
            bare = word == "--json" and not following.lower().endswith(".json")
            if bare and following and not following.startswith("-") and not _is_site_or_study(Path(following)):
                raise BadParameter(f"{following!r} is no study; a file for --json must end in .json.", ctx)
            words.append(f"--json={_STDOUT}" if bare else word)
        return super().parse_args(ctx, words)


def _is_site_or_study(path: Path) -> bool:
    """Return whether a path may be meant as a site or a study."""
    return path.suffix == ".toml" or path.is_dir()


def check(
    site: Annotated[Path, typer.Argument(metavar="SITE.toml", help="The site.toml, or the folder it lies in.")],
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STUDY]", help="Folder of a study, or its pyproject.toml; without one, the task is inferred from the data."
        ),
    ] = None,
    modality: Annotated[
        ModalityName | None,
        typer.Option("--modality", help="Without a study: whose images to look at; by default the most frequent."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report for the site's own eyes.")] = None,
    as_json: Annotated[
        str, typer.Option("--json", help="Print JSON for machines, or write it to a FILE that ends in .json.", metavar="[FILE]")
    ] = "",
    fast: Annotated[bool, typer.Option("--fast", help="Look at headers only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List every finding with its pseudonym.")] = False,
    thumbnails: Annotated[bool, typer.Option(help="Put pictures of some cases into the report.")] = True,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that read cases; 0: as the cores allow.")] = 0,
    debug: Annotated[
        Path | None,
        typer.Option("--debug-local", help="Write what libraries really said to a file. It may name patients; delete it."),
    ] = None,
) -> None:
    """Find out which cases can be used, which cannot, and why. Nothing leaves this machine.

    Exit codes: 0 training would be accepted by the site's policy, 1 it would not, 2 the site.toml, the study or the command
    line is wrong.
    """
    if modality and study:
        raise typer.BadParameter("the study names the modality.", param_hint="--modality")
    from medfl.site import read_site
    from medfl.study import read_study

    for option, file in (("--html", html), ("--json", Path(as_json) if as_json not in ("", _STDOUT) else None)):
        if file:
            require_writable(file, option)
    the_site = read_site(site)
    planned = read_study(study) if study else None

    from medfl.api.data_check import check_data  # imports much, which a wrong file should not have to wait for
    from medfl.data.debug import debug_local
    from medfl.report.quality_report import MAX_THUMBNAILS, write_quality_report
    from medfl.system.files import write_private

    with debug_local(debug) if debug else nullcontext(), show_progress("Finding the cases") as advance:
        pictures = MAX_THUMBNAILS if html and thumbnails else 0
        checked = check_data(
            the_site,
            planned,
            fast=fast,
            previews=pictures,
            workers=workers,
            indexing=partial(advance, what="Reading headers"),
            progress=partial(advance, what="Reading the cases"),
            modality=modality.value if modality else None,
        )
    document = json.dumps(checked.as_json(), indent=2)
    if html:
        write_quality_report(html, checked.found, checked.shared, the_site)
    if as_json == _STDOUT:
        typer.echo(document)
    else:
        if as_json:
            write_private(Path(as_json), document.encode())
        print_check(checked.found, checked.declined, verbose=verbose, files=[str(path) for path in (html, as_json) if path])
    if checked.declined:
        raise typer.Exit(EXIT_DECLINED)


def print_check(found: SiteCheck, declined: str, *, verbose: bool, files: list[str]) -> None:
    """Print what a check found, and why the site would not train; empty if it would."""
    _print_data(found)
    if found.count_findings():
        output.print(_findings_table(found))
    if verbose:
        for finding in found.all_findings:
            output.print(str(finding), style=_STYLES[finding.level])
    if any(finding.case for finding in found.all_findings):
        hint = "" if verbose else "-v lists every finding with its pseudonym; "
        output.print(
            f"{hint}'medfl data whois case-...' names the files behind a pseudonym, on this machine only.", style="dim"
        )
    if found.files:
        output.print(str(found.files), style="dim")
    if found.fast:
        output.print("Only headers were looked at; without --fast, pixels and masks are checked, too.", style="dim")
    for file in files:
        output.print(f"Wrote {file}. It is for this site's own eyes.")
    output.print(declined or "Training would be accepted by this site's policy.", style="red" if declined else "green")
    output.print(found.summary(), style="bold")


def _print_data(found: SiteCheck) -> None:
    """Print what the data is taken for, and how its classes and splits are balanced."""
    from medfl.data.quality.class_balance import count_classes

    for sentence in found.assumed:
        output.print(sentence, style="dim")
    if found.table:
        print_table(found.table)
    print_balance(count_classes(found.cases, found.task), patient_ids=found.patient_ids)
    if splits := found.splits_summary():
        output.print(splits)


def _findings_table(found: SiteCheck) -> Table:
    from medfl.errors import explain_code

    table = Table("code", "cases", "what", "what to do", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for row in found.count_findings():
        what = row.what if row.count < 2 else explain_code(row.code)
        table.add_row(Text(row.code, style=_STYLES[row.level]), str(row.count or "site"), Text(what), Text(row.fix))
    return table
