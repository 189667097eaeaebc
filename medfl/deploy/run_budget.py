"""Use of a site's approvals: runs that are allowed and begun, questions, and how much the answers can have told, in sum.

The ledger outlives an approval, so a copy of each approved study lies beside it: what was told under an approval that was
withdrawn still counts, and the next study on the same patients is shown with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from medfl.data.cohort import read_cohort
from medfl.deploy.approvals import list_approvals
from medfl.deploy.disclosure_sum import SPLITS, size_splits, unit_of
from medfl.errors import MedflError
from medfl.privacy.information import Sizes, bound_information, count_told
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.privacy.ledger_records import ApprovalUsage
from medfl.privacy.ledger_rows import JOINED_RUNS_ALLOWED, RUNS_ALLOWED
from medfl.privacy.outcomes import SplitSize
from medfl.privacy.patient_sets import count_patients, patients_of, write_member
from medfl.privacy.release_terms import policy_of
from medfl.site import Site
from medfl.study import Study
from medfl.study.study_json import study_from_json
from medfl.system.files import translate_disk_errors, write_private

_STUDIES = "studies"  # folder beside the ledger


@dataclass(frozen=True)
class StudyBudget:
    """What one study may ask and learn, and has.

    Parameters
    ----------
    name, hash : str
        The study.
    is_approved : bool
        Whether it may run now; False after it was withdrawn.
    runs_allowed, runs_begun, runs_joined : int
        Runs that may begin, that have, and that only joined.
    questions, asked : int or None
        Questions that all allowed runs may ask together, and those that were asked. Runs that only joined are left out.
    bound, told : int or None
        Bytes of scores and codes that all runs can tell at most, those that only join among them, and that were told at most
        so far; None where the study cannot be read any more.
    bound_each : int or None
        Bytes that one run more could tell.
    group : int
        Studies of one number are on the same patients, in part at least.
    """

    name: str
    hash: str
    is_approved: bool
    runs_allowed: int
    runs_begun: int
    runs_joined: int
    questions: int | None
    asked: int
    bound: int | None = None
    told: int | None = None
    bound_each: int | None = None
    group: int = 0


def find_runs(site: Site, study: Study, runs: int | None = None) -> tuple[int, int]:
    """Return how many runs a study is allowed, and how many of them have begun.

    Parameters
    ----------
    site : Site
        The site.
    study : Study
        The study, approved or not.
    runs : int, optional
        Runs that a person allows now; those that the ledger has, or else `RUNS_ALLOWED`, unless given.
    """
    for usage in Ledger(ledger_folder(site)).list_usage():
        if usage.study_hash == study.approved_hash():
            return runs or usage.runs_allowed, usage.runs_begun
    return runs or RUNS_ALLOWED, 0


def keep_study(site: Site, study: Study) -> None:
    """Keep a copy of an approved study beside the ledger, so that its sum can be told after it was withdrawn."""
    content = json.dumps(study.model_dump(mode="json", by_alias=True), indent=1).encode()
    path = ledger_folder(site) / _STUDIES / f"{study.approved_hash()}.json"
    with translate_disk_errors("the approved study", "give the same command again"):
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, content, "the approved study")


def list_budgets(site: Site) -> tuple[StudyBudget, ...]:
    """Return the use of every study that was ever approved at a site, the approved ones first, by name."""
    ledger = Ledger(ledger_folder(site))
    usages = {usage.study_hash: usage for usage in ledger.list_usage()}
    approved = {approval.hash: approval.study for approval in list_approvals(site)[0]}
    for study_hash, study in approved.items():
        usages.setdefault(study_hash, ApprovalUsage(study_hash, study.name, RUNS_ALLOWED, None, ()))
    groups = _group_by_patients(ledger, list(usages))
    found = []
    for study_hash, usage in usages.items():
        known = approved.get(study_hash) or _read_kept_study(site, study_hash)
        found.append(_sum_study(site, ledger, usage, known, study_hash in approved, groups[study_hash]))
    return tuple(sorted(found, key=lambda budget: (budget.group, not budget.is_approved, budget.name, budget.hash)))


def _sum_study(
    site: Site, ledger: Ledger, usage: ApprovalUsage, study: Study | None, is_approved: bool, group: int
) -> StudyBudget:
    asked = sum(run.answered + run.unanswered for run in usage.runs if run.has_begun)
    head = (usage.study_name, usage.study_hash, is_approved, usage.runs_allowed, usage.runs_begun, usage.runs_joined)
    if study is None:
        return StudyBudget(*head, None, asked, group=group)
    runs = max(usage.runs_allowed, usage.runs_begun)
    joined_runs = max(JOINED_RUNS_ALLOWED, len(usage.runs) - runs)
    sizes = _find_sizes(site, ledger, usage, study)
    information = bound_information(study, site.policy, sizes, runs=runs, joined_runs=joined_runs)
    told, today = _count_bits_told(site, ledger, usage, study, sizes)
    bound = told + max(information.total("scores").bits - today, 0.0)  # what is still to come leaves by today's policy
    in_bytes = (math.ceil(bound / 8), math.ceil(told / 8), information.bytes_of("scores"))
    return StudyBudget(*head, information.questions * runs, asked, *in_bytes, group)


def _count_bits_told(
    site: Site, ledger: Ledger, usage: ApprovalUsage, study: Study, sizes: Sizes | None
) -> tuple[float, float]:
    """Return what was told by the policy that each answer left under, and what the same answers would tell by today's."""
    asked = [each for run in usage.runs for each in ledger.list_asked(usage.study_hash, run.run)]
    told = sum(count_told(study, policy_of(terms, site.policy), sizes, [item]).bits for item, terms in asked)
    return told, count_told(study, site.policy, sizes, [item for item, _ in asked]).bits


def _find_sizes(site: Site, ledger: Ledger, usage: ApprovalUsage, study: Study) -> Sizes | None:
    """Return the largest sizes that the splits have today or had in a run."""
    try:
        cases = read_cohort(site, study).cases
        sizes = size_splits(cases, study, site.name)
    except MedflError:
        return None
    units = {write_member(case.patient, case.name): unit_of(case) for case in cases}
    for run in usage.runs:
        fixed: Mapping[str, frozenset[str]] = ledger.fixed_cases(usage.study_hash, run.run) or {}
        for split in SPLITS:
            now, then = sizes[split], fixed.get(split, frozenset())
            labels = len({units.get(member, member) for member in then})  # of a case that is gone, nobody knows the label
            sizes[split] = SplitSize(max(now.patients, count_patients(then)), max(now.units, labels), max(now.cases, len(then)))
    return sizes


def _read_kept_study(site: Site, study_hash: str) -> Study | None:
    try:
        study = study_from_json(json.loads((ledger_folder(site) / _STUDIES / f"{study_hash}.json").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError, RecursionError):
        return None
    return study if study.approved_hash() == study_hash else None


def _group_by_patients(ledger: Ledger, hashes: Sequence[str]) -> dict[str, int]:
    """Return the same number for studies that share a patient; a study of which no patient is known shares those of all."""
    patients: dict[str, set[str]] = {study_hash: set() for study_hash in hashes}
    for fixed in ledger.list_cases():
        patients.setdefault(fixed.study_hash, set()).update(*map(patients_of, fixed.splits.values()))
    if not all(patients[study_hash] for study_hash in hashes):
        return dict.fromkeys(hashes, 0)
    groups: list[tuple[set[str], list[str]]] = []
    for study_hash in hashes:
        theirs, members = set(patients[study_hash]), [study_hash]
        for group in [group for group in groups if group[0] & theirs]:
            groups.remove(group)
            theirs, members = theirs | group[0], [*group[1], *members]
        groups.append((theirs, members))
    return {study_hash: number for number, (_, members) in enumerate(groups) for study_hash in members}
