"""Runs that the log of a site knows and its ledger does not: where the budget was deleted or is older, they do not count."""

from __future__ import annotations

from typing import NamedTuple

from medfl.audit.chain import read_chain
from medfl.errors import AuditError
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.site import Site
from medfl.system.text import join_words, plural

_SHOWN = 5  # names of runs


class ForgottenRuns(NamedTuple):
    """What is wrong, in words, and what to do.

    Parameters
    ----------
    names : tuple of str
        Names of the runs.
    what, fix : str
        For a person.
    """

    names: tuple[str, ...]
    what: str
    fix: str


def find_forgotten(site: Site) -> ForgottenRuns | None:
    """Return the runs that this site answered by its log of exchanges, and that its ledger does not have; None without any.

    A line of the log names no study, so the runs of all studies are compared. A message that was refused is not looked at: it
    may have come to its end before anything was counted. Whether the log can be read is another check's matter.

    Raises
    ------
    DataError
        ``LEDGER-DAMAGED``.
    """
    usages = Ledger(ledger_folder(site)).list_usage()
    known = {run.run for usage in usages for run in usage.runs}
    try:
        lines = read_chain(site.folder / (site.federation.audit if site.federation else "audit.jsonl"))
    except AuditError:
        return None
    answered = (line.get("run") for line in lines if line.get("event") == "left" and not line.get("error"))
    names = tuple(dict.fromkeys(run for run in answered if isinstance(run, str) and run not in known))
    return ForgottenRuns(names, _describe(names, ledger_folder(site).name), _FIX) if names else None


_FIX = (
    "Restore the folder from the newest copy, with medfl stopped at this site. Without a copy, these runs count no more: allow "
    "fewer with 'medfl site approve STUDY.fab --runs N', or withdraw the study. Runs from before medfl counted are named, too."
)


def _describe(names: tuple[str, ...], folder: str) -> str:
    shown = [*names[:_SHOWN], *([f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])]
    return (
        f"This site answered {plural(len(names), 'run')} that its record of what was asked does not have: {join_words(shown)}. "
        f"The folder {folder} was deleted, or is an older copy, and studies could ask again what they were told."
    )
