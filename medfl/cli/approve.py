"""Commands `medfl site approve`, `approvals`, `withdraw`: which studies may run at a hospital."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption, YesOption, confirm

SiteOption = Annotated[Path, typer.Option("--site", help="Folder of the site.toml.")]


def approve(
    bundle: Annotated[Path, typer.Argument(help="STUDY.fab, as the planners of the study gave it to you.")],
    site: SiteOption = Path(),
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the study will do.")] = False,
) -> None:
    """Show in plain words what a study will do at this site, and approve it or not."""
    from medfl.deploy.approvals import approve as approve_study
    from medfl.deploy.bundle import read_bundle_study
    from medfl.deploy.study_summary import describe, policy_conflicts
    from medfl.site import read_site

    own_site, study = read_site(site), read_bundle_study(bundle)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for subject, what in describe(study, own_site.policy):
        table.add_row(Text(subject, "bold"), Text(what))
    output.print(Text.assemble("The study ", (study.name, "bold"), f", {study.approved_hash()[:16]}, at {own_site.name}:"))
    output.print(table)
    conflicts = policy_conflicts(study, own_site)
    for what in conflicts:
        output.print(Text(f"Your policy says no: {what}", "red"))
    if dry_run or conflicts:
        output.print("Nothing was approved.")
        raise typer.Exit(1 if conflicts else 0)
    confirm("May this study run at this site, as often as the server asks?", yes=yes)
    approve_study(own_site, study)
    output.print(f"Approved. Withdraw it with: medfl site withdraw {study.name}")


def approvals(site: SiteOption = Path(), as_json: JsonOption = False) -> None:
    """List the studies that may run at this site."""
    from medfl.deploy.approvals import list_approvals
    from medfl.site import read_site

    approved, problems = list_approvals(read_site(site))
    if as_json:
        print_json([{"name": a.name, "hash": a.hash, "approved": a.approved} for a in approved])
        return
    table = Table("study", "approved", "hash")
    for approval in approved:
        table.add_row(approval.name, approval.approved[:16].replace("T", " "), approval.hash[:16])
    output.print(table if approved else "No study is approved at this site.")
    for problem in problems:
        errors.print(Text(str(problem), "red"))
    if problems:
        raise typer.Exit(1)


def withdraw(
    study: Annotated[str, typer.Argument(help="Name of the study, or the beginning of its hash.")],
    site: SiteOption = Path(),
    yes: YesOption = False,
) -> None:
    """Withdraw an approval; the next message of that study is refused."""
    from medfl.deploy.approvals import withdraw as withdraw_approval
    from medfl.site import read_site

    own_site = read_site(site)
    confirm(f"Withdraw the approval of {study} at {own_site.name}? Its next message is refused.", yes=yes)
    withdrawn = withdraw_approval(own_site, study)
    output.print(f"{withdrawn.name} may no longer run at this site.")
