"""Command `medfl site budget`: what the studies at a hospital may ask and learn, and have."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from medfl.cli.approve import SiteOption
from medfl.cli.console import errors, output, print_json
from medfl.cli.options import JsonOption, YesOption, confirm
from medfl.errors import DeployError
from medfl.system.text import NOT_AVAILABLE, format_bytes, format_count, plural

if TYPE_CHECKING:
    from medfl.deploy.run_budget import StudyBudget
    from medfl.site import Site

_RIGHT = ("runs begun", "only joined", "questions", "told")


def budget(
    study: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="Name of the study, or the beginning of its hash; all unless given.")
    ] = "",
    site: SiteOption = Path(),
    add: Annotated[int, typer.Option("--add", min=0, help="Allow the study so many more runs.")] = 0,
    retry: Annotated[
        bool, typer.Option("--retry", help="Let the site work again on questions of the study that it gave up.")
    ] = False,
    yes: YesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what --add or --retry would change.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what each study may ask and learn at this site, and has; with --add, allow further runs.

    A question that failed 10 times is given up. Once the reason is mended, --retry allows 10 more attempts.
    """
    from medfl.deploy.forgotten_runs import find_forgotten
    from medfl.deploy.run_budget import list_budgets
    from medfl.site import read_site

    own_site = read_site(site)
    if (forgotten := find_forgotten(own_site)) is not None:
        errors.print(Text(f"{forgotten.what} {forgotten.fix}", "yellow"))
    budgets = list_budgets(own_site)
    chosen = [each for each in budgets if not study or each.name == study or each.hash.startswith(study)]
    if add:
        _add_runs(own_site, study, chosen, add, yes=yes, dry_run=dry_run)
    if retry:
        _allow_attempts(own_site, study, chosen, yes=yes, dry_run=dry_run)
    if add or retry:
        return
    if study and not chosen:
        raise _unknown_error(study, chosen)
    if as_json:
        print_json({"studies": [_to_json(each) for each in chosen], "sums": [_sum(group) for group in _group(chosen)]})
    elif chosen:
        _print_budgets(chosen)
    else:
        output.print("No study was ever approved at this site.")


def _add_runs(site: Site, study: str, chosen: Sequence[StudyBudget], add: int, *, yes: bool, dry_run: bool) -> None:
    from medfl.privacy.ledger import Ledger, ledger_folder

    one = _find_approved(study, chosen)
    before, after = one.runs_allowed, one.runs_allowed + add
    output.print(f"{one.name} ({one.hash[:16]}) may run {plural(before, 'time')}; {one.runs_begun} began. It would be {after}.")
    if one.bound_each is not None:
        more = _format(one.bound_each * add)
        output.print(f"Its scores and codes could then tell {more} more, and its trained models more with them.")
    if dry_run:
        output.print("Nothing was changed.")
        return
    confirm(f"Allow {plural(add, 'more run', 'more runs')}?", yes=yes)
    ledger = Ledger(ledger_folder(site))
    ledger.allow_runs(one.hash, one.name)  # an approval that nothing was asked of has no entry yet
    output.print(f"{one.name} may run {plural(ledger.add_runs(one.hash, add), 'time')}.")


def _allow_attempts(site: Site, study: str, chosen: Sequence[StudyBudget], *, yes: bool, dry_run: bool) -> None:
    from medfl.privacy.ledger import Ledger, ledger_folder
    from medfl.privacy.ledger_rows import ATTEMPTS

    one, ledger = _find_approved(study, chosen), Ledger(ledger_folder(site))
    given_up = ledger.count_given_up(one.hash)
    if not given_up:
        output.print(f"This site gave up no question of {one.name}.")
        return
    output.print(f"This site gave up {plural(given_up, 'question')} of {one.name}; its log says why each attempt failed.")
    output.print("The server learns from each attempt how long it takes, and whether it fails again.")
    if dry_run:
        output.print("Nothing was changed.")
        return
    confirm(f"Allow {ATTEMPTS} more attempts each?", yes=yes)
    output.print(f"{plural(ledger.allow_attempts(one.hash), 'question')} may be worked on again, when the server asks.")


def _find_approved(study: str, chosen: Sequence[StudyBudget]) -> StudyBudget:
    approved = [each for each in chosen if each.is_approved]
    if len(approved) != 1:
        raise _unknown_error(study, approved)
    return approved[0]


def _unknown_error(study: str, chosen: Sequence[StudyBudget]) -> DeployError:
    what = f"{len(chosen)} approvals match {study!r}."
    return DeployError("APPROVAL-UNKNOWN", what, "Name one study, or give the beginning of its hash: medfl site budget.")


def _print_budgets(budgets: Sequence[StudyBudget]) -> None:
    from medfl.privacy.ledger_rows import JOINED_RUNS_ALLOWED

    table = Table("study", "hash")
    for column in _RIGHT:
        table.add_column(column, justify="right")
    for each in budgets:
        name = Text.assemble(each.name, ("" if each.is_approved else " (withdrawn)", "dim"))
        runs, joined = f"{each.runs_begun} of {each.runs_allowed}", format_count(each.runs_joined)
        asked = _of(format_count(each.asked), each.questions, format_count)
        table.add_row(name, each.hash[:8], runs, joined, asked, _of(_format(each.told), each.bound, _format))
    output.print(table)
    groups = _group(budgets)
    for number, group in enumerate(groups, start=1):
        total = _sum(group)
        names = "these studies together" if len(groups) == 1 else f"group {number} ({', '.join(each.name for each in group)})"
        least = "at least " if total["unknown"] else ""
        if len(group) > 1:
            told = f"{least}{_format(total['told'])} of {least}{_format(total['bound'])}"
            output.print(f"On the same patients, {names} were told up to {told}.")
    if any(each.runs_joined for each in budgets):
        output.print(f"A run that only joined can be resumed. Beside those that may begin, {JOINED_RUNS_ALLOWED} may join.")
    output.print("Told: the most that scores and codes can have said. Trained models come on top; see medfl site outbox.")


def _group(budgets: Sequence[StudyBudget]) -> list[list[StudyBudget]]:
    return [list(group) for _, group in groupby(budgets, key=lambda each: each.group)]


def _sum(group: Sequence[StudyBudget]) -> dict[str, Any]:
    return {
        "studies": [each.hash for each in group],
        "told": sum(each.told or 0 for each in group),
        "bound": sum(each.bound or 0 for each in group),
        "unknown": sum(each.bound is None for each in group),
    }


def _to_json(each: StudyBudget) -> dict[str, Any]:
    return {
        "name": each.name,
        "hash": each.hash,
        "approved": each.is_approved,
        "runs-allowed": each.runs_allowed,
        "runs-begun": each.runs_begun,
        "runs-joined": each.runs_joined,
        "questions-allowed": each.questions,
        "questions-asked": each.asked,
        "bytes-bound": each.bound,
        "bytes-told": each.told,
    }


def _of(have: str, most: int | None, format_: Any) -> str:
    return f"{have} of {NOT_AVAILABLE if most is None else format_(most)}"


def _format(count: int | None) -> str:
    return NOT_AVAILABLE if count is None else format_bytes(count)
