"""Preparation of a hospital's files: cases in the store are reused, others are made, bad ones are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from medfl.data.cases import Case
from medfl.data.cohort import find_missing_classes, read_cohort
from medfl.data.findings import Finding
from medfl.data.index.case_records import reading_results, save_reading_results
from medfl.data.same_content import settle_copies
from medfl.data.splits import assign_splits, needed_split
from medfl.data.store.cache_key import store_root
from medfl.data.store.case_cache import CaseCache, Outcome
from medfl.data.store.forecast import Forecast, forecast
from medfl.data.store.mapped_arrays import Meta
from medfl.data.store.parallel import iter_outcomes
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

__all__ = ["check_policy", "count_exclusions", "patch_size_warnings", "prepare", "prepare_cases", "store_root"]

Progress = Callable[[int, int], None]  # cases done, cases in all

_NOTHING_SENT = "Training does not start; nothing was sent."


def prepare(site: Site, study: Study, progress: Progress | None = None) -> PreparedData:
    """Prepare all cases of a site for a study, and refuse when the site's policy is not met.

    Parameters
    ----------
    site : Site
        The hospital.
    study : Study
        Names the task and how images are preprocessed.
    progress : callable, optional
        Called with (cases done, cases in all) after each case.

    Returns
    -------
    PreparedData
        The usable cases; their arrays are mapped when they are accessed.

    Raises
    ------
    DataError
        ``SITE-EMPTY``, ``SITE-EXCLUDED`` or ``SITE-TOO-SMALL`` by the policy of the site, ``SITE-EXTRA`` when a library that
        the study needs is missing, and what the reading of the data folder as a whole raises.
    DiskFullError
        ``DISK-FULL`` when the store is full.
    """
    prepared = prepare_cases(site, study, progress)
    check_policy(site, prepared, study)
    return prepared


def prepare_cases(
    site: Site,
    study: Study,
    progress: Progress | None = None,
    *,
    workers: int = 1,
    announce: Callable[[Forecast], None] | None = None,
) -> PreparedData:
    """Prepare all cases of a site, whatever its policy says: for a check that shows everything that is wrong.

    Parameters are those of `prepare`, and:

    Parameters
    ----------
    workers : int
        Cases that are made at a time, each in a process of its own, as far as the memory allows. The result is the same.
    announce : callable, optional
        Called with a forecast before any image is read; it may raise to stop.

    Raises
    ------
    DataError
        For the same reasons as in `prepare`, except those of the policy.
    """
    cohort = read_cohort(site, study)
    splits = assign_splits(cohort.cases, study, site.name)  # before any is read: a file that turns bad must not move others
    order = [replace(case, split=splits[case.name]) for case in cohort.cases]
    cache = CaseCache(site, study)
    if announce:
        announce(forecast(order, cache.cache_folder.case_names(), cache.cache_folder.path, study, site))
    made, findings = _collect_outcomes(order, cache, study, progress, iter_outcomes(order, cache, site, study, workers))
    contents = {case.name: meta["content"] for case, meta in made}
    copies = settle_copies(cohort.cases, contents, patient_ids=cohort.patient_ids)
    findings += copies.findings
    codes = copies.tell_reading(reading_results((case.name for case in order), findings))
    save_reading_results(site, study.name, codes, copies.others)
    findings = [*cohort.findings, *findings]
    used = [(case, meta) for case, meta in made if case.name not in copies.dropped]
    if used and study.task.kind == "segmentation":
        present = {value for _, meta in used for value in meta["present"]}
        annotated = {value for _, meta in used for value in meta["annotated"] or range(len(study.task.classes))}
        findings += find_missing_classes(present, study, annotated)
    return PreparedData(site.name, tuple(case for case, _ in used), tuple(findings), cohort.patient_ids)


def _collect_outcomes(
    order: Sequence[Case],
    cache: CaseCache,
    study: Study,
    progress: Progress | None,
    outcomes: Iterable[tuple[Case, Outcome]],
) -> tuple[list[tuple[PreparedCase, Meta]], list[Finding]]:
    """Return the cases that were prepared, with their metadata, and the findings about all."""
    made: list[tuple[PreparedCase, Meta]] = []
    findings: list[Finding] = []
    try:
        for done, (case, outcome) in enumerate(outcomes, start=1):
            findings += outcome.findings
            stored = cache.open_case(case, outcome)
            if stored and outcome.meta:
                findings += patch_size_warnings(case.name, outcome.meta["files"]["image.npy"]["shape"][1:], study)
                made.append((stored, outcome.meta))
            cache.autosave(outcome)
            if progress:
                progress(done, len(order))
    finally:
        cache.save()
    return made, findings


def patch_size_warnings(name: str, shape: Sequence[int], study: Study) -> list[Finding]:
    """Return a warning when a prepared image is smaller than the patches; the store does not know them, so each start makes it.

    Parameters
    ----------
    name : str
        Pseudonym of the case.
    shape : sequence of int
        Shape of the prepared image.
    study : Study
        Names the patch.
    """
    patch = study.training.patch
    if not patch or all(side >= wanted for side, wanted in zip(shape, patch, strict=True)):
        return []
    kind = "volume" if study.task.dimension == 3 else "image"
    sizes = ["x".join(map(str, sides)) for sides in (shape, patch)]
    what = f"{kind} {sizes[0]} is smaller than the patch {sizes[1]}; it is padded."
    fix = "Nothing to do for a few images; for most of them, make training.patch in the study smaller."
    return [Finding("PATCH-TOO-BIG", name, what, fix, "warning")]


def count_exclusions(prepared: PreparedData) -> dict[str, int]:
    """Return how many cases were left out for each code, in the order of the codes; a case counts once, by its first error."""
    first: dict[str, str] = {}
    for finding in prepared.findings:
        if finding.level == "error" and finding.case:
            first.setdefault(finding.case, finding.code)
    return dict(sorted(Counter(first.values()).items()))


def check_policy(site: Site, prepared: PreparedData, study: Study) -> None:
    """Raise when a site has too few usable cases, or had to leave out too many, by its own policy.

    Parameters
    ----------
    site : Site
        The hospital.
    prepared : PreparedData
        Its cases.
    study : Study
        Says whether the hospital is external, and so needs test cases instead of training cases.

    Raises
    ------
    DataError
        ``SITE-EMPTY``, ``SITE-EXCLUDED`` or ``SITE-TOO-SMALL``.
    """
    exclusions = count_exclusions(prepared)
    excluded = sum(exclusions.values())
    listing = ", ".join(f"{count} {code}" for code, count in exclusions.items())
    because = f" (excluded: {listing})" if listing else ""
    if not prepared.cases and not excluded:
        what = f"no case was found in the data of site {prepared.site}{because}."
        raise DataError("SITE-EMPTY", what, f"Check data.root, data.layout and data.where in the site.toml. {_NOTHING_SENT}")
    total = len(prepared.cases) + excluded
    if excluded > site.policy.max_excluded * total:
        share, allowed = f"{excluded / total:.0%}", f"{site.policy.max_excluded:.0%}"
        what = f"{excluded} of {total} cases had to be left out ({share}), the site allows {allowed}{because}."
        raise DataError("SITE-EXCLUDED", what, f"Repair them, or raise policy.max-excluded in the site.toml. {_NOTHING_SENT}")
    split = needed_split(study, site.name)
    cases, use = len(prepared.get_split(split)), {"train": "training", "test": "test"}[split]
    if cases < site.policy.min_cases:
        what = f"{cases} usable {use} cases, the site asks for at least {site.policy.min_cases}{because}."
        raise DataError("SITE-TOO-SMALL", what, f"Add cases, or lower policy.min-cases in the site.toml. {_NOTHING_SENT}")
