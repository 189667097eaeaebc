"""Cases of a run at a hospital: fixed when it joins, whatever is added to the data later, and only ever fewer.

A run whose patients differ by few from those of any other would tell what these few contribute
(`medfl.privacy.patient_sets`). It is refused, or some patients more are left out of it, as ``policy.changed-cases`` says.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from medfl.data.cases import Case, Split
from medfl.data.store.prepared_data import PreparedData, select_cases
from medfl.errors import PolicyError
from medfl.privacy.earlier_training import keep_apart
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_records import RunCases
from medfl.privacy.patient_sets import (
    FINGERPRINT,
    Splits,
    adjust,
    case_of,
    count_missing_patients,
    find_near,
    leave_out_more,
    patients_of,
    write_member,
)
from medfl.site import Site
from medfl.study import Study
from medfl.system.text import plural

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_ADJUST = 'set changed-cases = "adjust" in the policy of site.toml, which leaves some more patients out of the run'
_log = logging.getLogger("medfl.site")


def cases_of_run(study: Study, site: Site, run: str, ledger: Ledger, prepared: PreparedData) -> PreparedData:
    """Return those cases of a site that a run works on, in the splits that it has; the first call fixes them.

    Parameters
    ----------
    study : Study
        The approved study.
    site : Site
        The hospital.
    run : str
        Name of the run.
    ledger : Ledger
        Keeps the patients of all runs.
    prepared : PreparedData
        All cases of the site as they are now.

    Raises
    ------
    PolicyError
        ``CASES-CHANGED``, or ``START-PATIENTS`` when the start of the study was trained on its test patients. They depend on
        the patients, and are for the site's own log alone.
    DataError
        ``LEDGER-DAMAGED``.
    """
    splits = choose_splits(study, site, run, ledger, list_members(prepared))
    names: dict[str, Split] = {case_of(member): name for name in SPLITS for member in splits.get(name, ())}
    return select_cases(prepared, names)


def choose_described(study: Study, site: Site, run: str, ledger: Ledger, measured: Sequence[Case]) -> set[str]:
    """Return the names of those cases that a fingerprint describes, of all that could be measured; else as `cases_of_run`."""
    members = frozenset(write_member(case.patient, case.name) for case in measured)
    own = f"{run} {FINGERPRINT}"  # no name of a run has a blank
    chosen = choose_splits(study, site, own, ledger, {FINGERPRINT: members})
    return {case_of(member) for member in chosen[FINGERPRINT]}


def list_members(prepared: PreparedData) -> Splits:
    """Return the cases of each split as members of a set."""
    return {name: frozenset(write_member(case.patient, case.name) for case in prepared.get_split(name)) for name in SPLITS}


def choose_splits(study: Study, site: Site, run: str, ledger: Ledger, present: Splits) -> Splits:
    """Return the members of a run by split, when these are present now; as `cases_of_run`."""
    everyone = frozenset().union(*present.values())
    fixed = ledger.fixed_cases(study.approved_hash(), run)
    if fixed is not None and frozenset().union(*fixed.values()) <= everyone:
        return fixed

    def choose(before: Splits | None, earlier: Sequence[RunCases]) -> Splits:
        if before is not None:
            return _go_on(site, before, present, earlier)
        return _begin(site, keep_apart(study, present, _trained_by(study, earlier)), earlier)

    return ledger.choose_cases(study.approved_hash(), run, choose)


def _trained_by(study: Study, earlier: Sequence[RunCases]) -> set[str]:
    """Return this site's training patients of the studies that the start comes from."""
    return patients_of(
        member for one in earlier if one.study_hash in study.start.studies for member in one.splits.get("train", ())
    )


def _begin(site: Site, present: Splits, earlier: Sequence[RunCases]) -> Splits:
    """Return the patients of a new run."""
    k, sets = site.policy.min_count, _distinct(earlier)
    conflicts = find_near(present, sets, k)
    if not conflicts:
        return present
    nearest = min(conflicts, key=lambda one: one.patients)
    other = next(one for one in earlier if one.splits == sets[nearest.earlier])
    here, there = " and ".join(nearest.new_splits), " and ".join(nearest.earlier_splits)
    what = (
        f"{here} of this run and {there} of the run {other.run!r} of {other.study_name!r} differ by "
        f"{plural(nearest.patients, 'patient')}, fewer than the {k} of 'min-count': scores or updates of both would tell what "
        "these contribute."
    )
    if site.policy.changed_cases == "refuse":
        fix = f"Restore the cases of that run, or {_ADJUST}. Planners avoid this with the same splits and split-seed."
        raise PolicyError("CASES-CHANGED", what, fix)
    return _accept(adjust(present, sets, k, site.secret()), present, what)


def _go_on(site: Site, before: Splits, present: Splits, earlier: Sequence[RunCases]) -> Splits:
    """Return the patients of a run of which some cases are gone."""
    everyone = frozenset().union(*present.values())
    left = {name: members & everyone for name, members in before.items()}
    gone = count_missing_patients(before, present)
    what = f"cases of {plural(gone, 'patient')} with whom this run began are gone."
    if not site.policy.min_count:
        return left
    if site.policy.changed_cases == "refuse":
        fix = f"If a folder is not mounted, mount it. If consent was withdrawn, {_ADJUST}; the run goes on then."
        raise PolicyError("CASES-CHANGED", f"{what} It gets no further answer.", fix)
    return _accept(leave_out_more(left, _distinct(earlier), site.policy.min_count, site.secret()), left, what)


def _accept(chosen: Splits | None, present: Splits, what: str) -> Splits:
    if chosen is None:
        fix = "Too few would be left to train with. Add patients, or decline the study."
        raise PolicyError("CASES-CHANGED", what, fix)
    out = count_missing_patients(present, chosen)
    _log.warning("[CASES-CHANGED] %s %s left out as well.", what, f"{plural(out, 'patient')} {'is' if out == 1 else 'are'}")
    return chosen


def _distinct(earlier: Sequence[RunCases]) -> list[Splits]:
    """Return the sets of earlier runs, each once, in their order."""
    found: list[Splits] = []
    for one in earlier:
        if one.splits not in found:
            found.append(one.splits)
    return found
