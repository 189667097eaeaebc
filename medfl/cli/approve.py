"""`medfl site approve`, `approvals`, `withdraw`: which studies may run at a hospital."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output
from medfl.cli.options import JsonOption, YesOption, confirm

SiteOption = Annotated[Path, typer.Option("--site", help="Folder of the site.toml.")]


def approve(
    bundle: Annotated[Path, typer.Argument(help="STUDY.fab, as the planners of the study gave it to you.")],
    site: SiteOption = Path(),
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the study will do.")] = False,
) -> None:
    """Read in plain words what a study will do here, and let it run or not."""
    from medfl.deploy.approvals import approve as let_run
    from medfl.deploy.bundle import read_bundle_study
    from medfl.deploy.study_summary import describe, policy_conflicts
    from medfl.site import read_site

    here, study = read_site(site), read_bundle_study(bundle)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for subject, what in describe(study, here.policy):
        table.add_row(Text(subject, "bold"), Text(what))
    output.print(Text.assemble("The study ", (study.name, "bold"), f", {study.approved_hash()[:16]}, at {here.name}:"))
    output.print(table)
    against = policy_conflicts(study, here)
    for what in against:
        output.print(Text(f"Your policy says no: {what}", "red"))
    if dry_run or against:
        output.print("Nothing was approved.")
        raise typer.Exit(1 if against else 0)
    confirm("May this study run here, as often as the server asks?", yes=yes)
    let_run(here, study)
    output.print(f"Approved. Take it back with: medfl site withdraw {study.name}", highlight=False)


def approvals(site: SiteOption = Path(), as_json: JsonOption = False) -> None:
    """List the studies that may run here."""
    from medfl.deploy.approvals import list_approvals
    from medfl.site import read_site

    found, wrong = list_approvals(read_site(site))
    if as_json:
        output.print_json(json.dumps([{"name": a.name, "hash": a.hash, "approved": a.approved} for a in found]))
        return
    table = Table("study", "approved", "hash")
    for approval in found:
        table.add_row(approval.name, approval.approved[:16].replace("T", " "), approval.hash[:16])
    output.print(table if found else "No study is approved here.")
    for problem in wrong:
        errors.print(Text(str(problem), "red"))
    if wrong:
        raise typer.Exit(1)


def withdraw(
    study: Annotated[str, typer.Argument(help="Name of the study, or the beginning of its hash.")],
    site: SiteOption = Path(),
    yes: YesOption = False,
) -> None:
    """Take an approval back; the next message of that study is refused."""
    from medfl.deploy.approvals import withdraw as take_back
    from medfl.site import read_site

    here = read_site(site)
    confirm(f"Take the approval of {study} at {here.name} back? Its next message is refused.", yes=yes)
    gone = take_back(here, study)
    output.print(f"{gone.name} may no longer run here.", highlight=False)
