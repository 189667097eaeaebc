"""Commands `medfl site approve`, `approvals`, `withdraw`: which studies may run at a hospital."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption, YesOption, confirm
from medfl.cli.progress import show_progress
from medfl.system.text import plural

SiteOption = Annotated[Path, typer.Option("--site", help="Folder of the site.toml.")]


def approve(
    bundle: Annotated[Path, typer.Argument(help="STUDY.fab, as the planners of the study gave it to you.")],
    site: SiteOption = Path(),
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, help="How often the study may run, earlier runs included; 3 unless given.")
    ] = None,
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the study will do.")] = False,
) -> None:
    """Show in plain words what a study will do at this site and how much it can learn, and approve it or not."""
    from medfl.deploy.approvals import approve as approve_study
    from medfl.deploy.bundle import read_bundle_study
    from medfl.deploy.disclosure_sum import sum_disclosure
    from medfl.deploy.forgotten_runs import find_forgotten
    from medfl.deploy.run_budget import find_runs, keep_study
    from medfl.deploy.study_summary import describe, policy_conflicts
    from medfl.privacy.ledger import Ledger, ledger_folder
    from medfl.site import read_site

    own_site, study = read_site(site), read_bundle_study(bundle)
    allowed, begun = find_runs(own_site, study, runs)
    with show_progress("Counting your patients") as advance:
        disclosed = sum_disclosure(own_site, study, allowed, advance)
    table = Table("", Column(overflow="fold"), box=None, show_header=False, padding=(0, 2))  # a hash is shown whole
    for subject, what in describe(study, own_site.policy, disclosed):
        table.add_row(Text(subject, "bold"), Text(what))
    output.print(Text.assemble("The study ", (study.name, "bold"), f", {study.approved_hash()[:16]}, at {own_site.name}:"))
    output.print(table)
    conflicts = policy_conflicts(study, own_site)
    for what in conflicts:
        output.print(Text(f"Your policy says no: {what}", "red"))
    if begun:
        output.print(f"This study has run here before: {begun} of {plural(allowed, 'run')} began already.")
    if (forgotten := find_forgotten(own_site)) is not None:
        output.print(Text(f"{forgotten.what} {forgotten.fix}", "yellow"))
    if disclosed.problem:
        output.print(Text(f"Your data cannot be used for it as it is: {disclosed.problem}", "yellow"))
    if dry_run or conflicts:
        output.print("Nothing was approved.")
        raise typer.Exit(1 if conflicts or disclosed.problem else 0)
    confirm(f"May this study run at this site, up to {'once' if allowed == 1 else f'{allowed} times'}?", yes=yes)
    Ledger(ledger_folder(own_site)).allow_runs(study.approved_hash(), study.name, allowed)
    keep_study(own_site, study)
    approve_study(own_site, study)
    output.print("Approved. What it has asked: medfl site budget")
    output.print(f"Withdraw it with: medfl site withdraw {study.name}")


def approvals(site: SiteOption = Path(), as_json: JsonOption = False) -> None:
    """List the studies that may run at this site, and how many runs each has left."""
    from medfl.deploy.approvals import list_approvals
    from medfl.deploy.forgotten_runs import find_forgotten
    from medfl.deploy.run_budget import find_runs
    from medfl.site import read_site

    own_site = read_site(site)
    approved, problems = list_approvals(own_site)
    rows = []
    for approval in approved:
        allowed, begun = find_runs(own_site, approval.study)
        rows.append((approval, max(allowed - begun, 0), allowed))
    if approved and (forgotten := find_forgotten(own_site)) is not None:
        errors.print(Text(f"{forgotten.what} {forgotten.fix}", "yellow"))
    if as_json:
        print_json(
            [
                {"name": a.name, "hash": a.hash, "approved": a.approved, "runs-left": left, "runs-allowed": allowed}
                for a, left, allowed in rows
            ]
        )
        return
    table = Table("study", "approved", "runs left", "hash")
    for approval, left, allowed in rows:
        table.add_row(approval.name, approval.approved[:16].replace("T", " "), f"{left} of {allowed}", approval.hash[:16])
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
    from medfl.deploy.run_budget import keep_study
    from medfl.runs.kept_models import list_kept, models_folder
    from medfl.site import read_site

    own_site = read_site(site)
    confirm(f"Withdraw the approval of {study} at {own_site.name}? Its next message is refused.", yes=yes)
    withdrawn = withdraw_approval(own_site, study)
    keep_study(own_site, withdrawn.study)  # what it was told still counts
    output.print(f"{withdrawn.name} may no longer run at this site.")
    kept = sum(model.study_hash == withdrawn.hash and model.is_there for model in list_kept(models_folder(own_site)))
    if kept:
        output.print(f"{plural(kept, 'model')} of it {'stays' if kept == 1 else 'stay'} here: medfl site models {site}")
