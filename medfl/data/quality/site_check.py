"""Check of a site's images, for a study or before there is one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from medfl.data.cases import Case, Cohort
from medfl.data.cohort import find_missing_classes, read_cohort
from medfl.data.file_account import FileAccount
from medfl.data.findings import Finding
from medfl.data.index.case_records import reading_results, save_reading_results
from medfl.data.index.file_index import FileIndex
from medfl.data.layouts.accounting import account_files
from medfl.data.layouts.csv import as_unlabelled
from medfl.data.layouts.detect import detect_layout
from medfl.data.layouts.site_table import describe_site_table
from medfl.data.layouts.table_description import TableDescription
from medfl.data.layouts.used_tables import find_used_tables
from medfl.data.load import unreadable_finding
from medfl.data.quality.case_pool import map_cases
from medfl.data.quality.class_balance import count_classes, find_empty_splits, find_small_classes
from medfl.data.quality.facts import CaseFacts, SiteCheck
from medfl.data.quality.foretelling import check_store
from medfl.data.quality.header_check import check_headers
from medfl.data.quality.measure import measure_case
from medfl.data.quality.study_inference import infer_study
from medfl.data.quality.unlabelled import ONLY_IMAGES, has_no_labels, mark_unlabelled, unlabelled_cases
from medfl.data.same_content import Copies, settle_copies
from medfl.data.splits import assign_splits, needed_split
from medfl.data.store.prepare import check_policy
from medfl.errors import DataError, MedflError
from medfl.site import Site
from medfl.study import Study
from medfl.study.task import Modality
from medfl.system.text import plural

Progress = Callable[[int, int], None]  # done, in all


def check_site(
    site: Site,
    study: Study | None = None,
    *,
    fast: bool = False,
    previews: int = 0,
    workers: int = 0,
    indexing: Progress | None = None,
    progress: Progress | None = None,
    modality: Modality | None = None,
) -> tuple[SiteCheck, Study | None]:
    """Find out which cases of a site can be used, and why others cannot.

    Nothing stops it: what is wrong with a case, or with the data folder as a whole, is a finding.

    Parameters
    ----------
    site : Site
        The hospital.
    study : Study, optional
        Names the task; without one, the task is inferred from the data (`medfl.data.quality.study_inference`).
    fast : bool
        Look at headers only. Damaged pixels and wrong masks are not found then.
    previews : int
        Make pictures of so many cases, spread evenly.
    workers : int
        Processes that read cases; 0: as the cores allow.
    indexing : callable, optional
        Called with (files read, files to read) while headers are read.
    progress : callable, optional
        Called with (cases done, cases in all).
    modality : str, optional
        Modality of the images that a check without a study looks at; the most frequent one by default.

    Returns
    -------
    SiteCheck
        What was found out.
    Study or None
        The study, or the one that was assumed; None when none could be.
    """
    assumed: tuple[str, ...] = ()
    study_name = study.name if study else ""
    try:
        if study is None:
            site = as_unlabelled(site)
            study, assumed = infer_study(site, indexing, modality)
            site = site.model_copy(update={"data": site.data.model_copy(update={"channels": study.task.channel_names})})
        cohort = read_cohort(site, study, indexing, account=True, inferred=not study_name)
        splits = assign_splits(cohort.cases, study, site.name)
    except DataError as error:
        whole, task = Finding.from_error(error), study.task if study else None
        files, table = _look_at_unread(site)
        return SiteCheck(site.name, study_name, task, assumed, (), (whole,), True, whole, fast, files, table), study
    cases = [replace(case, split=splits[case.name]) for case in cohort.cases]
    images: list[Case] = [] if study_name else unlabelled_cases(site, study, cohort)
    if images:
        only = has_no_labels(cohort)
        assumed = (*assumed, ONLY_IMAGES if only else _say_checked_alone(len(images)))
        cases, cohort = [*cases, *images], _without_rechecked(cohort, images, none_labelled=only)
    facts = _inspect_cases(cases, study, site, _pick_previews(cases, 0 if fast else previews), fast, workers, progress)
    if not fast:
        facts = _settle_reading(facts, [*cohort.cases, *images], study, site, patient_ids=cohort.patient_ids)
    names = {case.name for case in images}
    facts = [mark_unlabelled(case) if case.case in names else case for case in facts]
    check = _build_check(site, study, cohort, facts, fast=fast)
    if study_name and check.refusal is None:
        check = replace(check, refusal=_store_refusal(check, study, site))
    return replace(check, study=study_name, assumed=assumed, table=_describe_table(site)), study


def _say_checked_alone(count: int) -> str:
    has, they = ("has", "it was checked by itself") if count == 1 else ("have", "they were checked by themselves")
    return f"{plural(count, 'image')} {has} no label: {they}."


def _settle_reading(
    facts: Sequence[CaseFacts], cases: Sequence[Case], study: Study, site: Site, *, patient_ids: bool
) -> list[CaseFacts]:
    """Return the facts of cases that were read without copies of others, and save for each what reading it showed."""
    contents = {case.case: case.content for case in facts if case.content and case.usable}
    copies = settle_copies(cases, contents, patient_ids=patient_ids)
    settled = _without_copies(facts, copies)
    codes = reading_results((case.case for case in settled), (finding for case in settled for finding in case.findings))
    save_reading_results(site, study.name, copies.tell_reading(codes), copies.others)
    return settled


def _without_copies(facts: Sequence[CaseFacts], copies: Copies) -> list[CaseFacts]:
    """Return the facts without copies of other cases, and with what is to be said about those that contradict each other."""
    about: dict[str, list[Finding]] = defaultdict(list)
    for finding in copies.findings:
        about[finding.case].append(finding)
    told = [replace(case, findings=(*case.findings, *about[case.case])) if case.case in about else case for case in facts]
    return [
        case if case.usable else replace(case, split="")
        for case in told
        if case.case not in copies.dropped or case.case in about
    ]


def _look_at_unread(site: Site) -> tuple[FileAccount | None, TableDescription | None]:
    """Return what lies in a data folder whose cases could not be listed, and what its table holds."""
    try:
        with FileIndex(site) as index:
            index.tree(site.root)
            layout = _find_layout(site, index)
            return account_files(site, index, tables=find_used_tables(site, layout)), describe_site_table(site, layout)
    except (OSError, DataError):  # the refusal that brought us here is told already
        return None, None


def _describe_table(site: Site) -> TableDescription | None:
    try:
        with FileIndex(site) as index:
            layout = _find_layout(site, index)
    except (OSError, DataError):
        layout = ""
    return describe_site_table(site, layout)


def _find_layout(site: Site, index: FileIndex) -> str:
    try:
        return detect_layout(site, index)
    except DataError:
        return ""


def _store_refusal(check: SiteCheck, study: Study, site: Site) -> Finding | None:
    try:
        check_store(check.cases, study, site)
    except MedflError as error:
        return Finding.from_error(error)
    return None


def _without_rechecked(cohort: Cohort, images: Sequence[Case], *, none_labelled: bool) -> Cohort:
    """Return a cohort without the findings about images that are checked by themselves, which finds them again."""
    names = {case.name for case in images}
    # `ONLY_IMAGES` says it of the site as a whole, and every series is looked at
    repeated = ("LBL-MISSING", "DCM-UNUSED-SERIES") if none_labelled else ()
    return replace(cohort, findings=tuple(f for f in cohort.findings if f.case not in names and f.code not in repeated))


def _inspect_cases(
    cases: Sequence[Case],
    study: Study,
    site: Site,
    shown: set[str],
    fast: bool,
    workers: int,
    progress: Progress | None,
) -> list[CaseFacts]:
    work = partial(_inspect_case, study=study, site=site, shown=frozenset(shown), fast=fast)
    found: dict[int, CaseFacts] = {}
    for place, facts in map_cases(work, cases, _crashed_case, 1 if fast else workers):
        found[place] = facts
        if progress:
            progress(len(found), len(cases))
    return [found[place] for place in range(len(cases))]


def _inspect_case(case: Case, *, study: Study, site: Site, shown: frozenset[str], fast: bool) -> CaseFacts:
    return check_headers(case, study, site) if fast else measure_case(case, study, site, preview=case.name in shown)


def _crashed_case(case: Case) -> CaseFacts:
    return CaseFacts(case.name, case.patient, findings=(unreadable_finding(case.name, "the program that read it was ended"),))


def _pick_previews(cases: Sequence[Case], count: int) -> set[str]:
    """Return the names of `count` cases that lie evenly in the order of the cohort."""
    step = max(1.0, len(cases) / count) if count else 0.0
    return {cases[int(k * step)].name for k in range(min(count, len(cases)))}


def _build_check(site: Site, study: Study, cohort: Cohort, facts: Sequence[CaseFacts], *, fast: bool) -> SiteCheck:
    of_case: dict[str, list[Finding]] = defaultdict(list)
    for finding in cohort.findings:
        of_case[finding.case].append(finding)
    general = of_case.pop("", [])
    cases = [replace(case, findings=(*of_case.pop(case.case, ()), *case.findings)) for case in facts]
    cases += [CaseFacts(name, findings=tuple(findings)) for name, findings in of_case.items()]
    if study.task.kind == "segmentation" and not fast and any(case.usable for case in cases):
        usable = [case for case in cases if case.usable]
        looked = {value for case in usable for value in case.annotated or range(len(study.task.classes))}
        general += find_missing_classes({index for case in usable for index, _ in case.amounts}, study, looked)
    ids, files = cohort.patient_ids, cohort.files
    if needed_split(study, site.name) == "train":  # an external hospital has one split, and is to have no other
        general += find_small_classes(count_classes(cases, study.task), study)
        general += find_empty_splits(cases, study) if any(case.split for case in cohort.cases) else ()
    check = SiteCheck(site.name, study.name, study.task, (), tuple(cases), tuple(general), ids, None, fast, files)
    try:
        check_policy(site, check.to_prepared(), study)
    except DataError as error:
        return replace(check, refusal=Finding.from_error(error))
    return check
