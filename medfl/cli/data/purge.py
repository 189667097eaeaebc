"""`medfl data purge`: prepared data goes, the hospital's own files stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from medfl.cli.console import output

if TYPE_CHECKING:
    from medfl.data.store.purge import PurgeCandidate


def purge(
    site_file: Annotated[Path, typer.Argument(metavar="SITE.toml", help="The hospital's site.toml, or its folder.")],
    keep: Annotated[list[Path] | None, typer.Option(help="Folder of a study that is still wanted; may be repeated.")] = None,
    older_than: Annotated[float, typer.Option(min=0, metavar="DAYS", help="Keep what was used more lately.")] = 0.0,
    runs: Annotated[bool, typer.Option("--runs", help="Also what runs left here, as models of the site's own.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a hospital's prepared data, all of it or what no study named with --keep uses. Its own files stay."""
    from medfl.data.store import purge as store
    from medfl.privacy.kept_answers import answers_folder
    from medfl.privacy.ledger import ledger_folder
    from medfl.site import read_site
    from medfl.study import read_study
    from medfl.system.text import format_bytes

    site = read_site(site_file)
    wanted, answers = [read_study(folder) for folder in keep or ()], answers_folder(ledger_folder(site))
    found = store.find_purgeable(site, wanted, older_than, runs=runs, answers=answers)
    if not found:
        output.print("There is nothing to remove.")
        return
    output.print(_table(found))
    size = format_bytes(sum(item.size for item in found))
    if dry_run:
        output.print(f"Nothing was removed: this was a dry run. It would make {size} free.")
        return
    if not yes:
        typer.confirm(_confirm_question(found, size), abort=True)
    output.print(f"Removed {format_bytes(store.purge(found))}.")


def _confirm_question(found: Sequence[PurgeCandidate], size: str) -> str:
    if any(item.why == "run" for item in found):
        return f"Remove {size}? What runs left here cannot be made again, and a run that still goes on needs it"
    return f"Remove {size} of prepared data? It can be made again from the hospital's files"


def _table(found: Sequence[PurgeCandidate]) -> Table:
    from medfl.system.text import format_bytes

    table = Table("study", "what", "cases", "size", "days since use", box=None, padding=(0, 2))
    words = {"plan": "all", "superseded": "copies of files that have changed", "run": "what a run left here"}
    for item in found:
        table.add_row(item.study or "–", words[item.why], str(item.cases), format_bytes(item.size), f"{item.days:.0f}")
    return table
