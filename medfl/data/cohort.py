"""Cohort: the cases that a site has for a study, those that are left out, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medfl.data.case_building import build_case, build_record, copies_warning, find_conflict, is_usable
from medfl.data.cases import Case, Cohort
from medfl.data.classes import names_to_classes
from medfl.data.findings import Finding
from medfl.data.index.case_records import save_cases
from medfl.data.index.file_index import FileIndex, Progress
from medfl.data.layouts.accounting import account_files
from medfl.data.layouts.channels import arrange_channels
from medfl.data.layouts.class_folders import advise_on_class_folders
from medfl.data.layouts.copies import group_copies
from medfl.data.layouts.detect import list_images, require_readable
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.layouts.patients import unite_patients
from medfl.data.layouts.unused_files import no_images_error
from medfl.data.layouts.used_tables import advise_on_index
from medfl.data.patient_division import select_patients
from medfl.data.pseudonyms import pseudonym
from medfl.data.split_names import UNLABELLED, parse_split_name
from medfl.data.splits import find_torn_patients, torn_patient_error
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study


def read_cohort(
    site: Site, study: Study, progress: Progress | None = None, *, account: bool = False, inferred: bool = False
) -> Cohort:
    """Find the cases of a site. Only headers and indices are read; no pixel is, and no file that has not changed.

    Parameters
    ----------
    site : Site
        Says where the data is and how it is labelled.
    study : Study
        Names the task.
    progress : callable, optional
        Called with (files read, files to read) while headers are read.
    account : bool
        Whether to say what becomes of each file of the data folder.
    inferred : bool
        Whether the study was inferred from the data, so that its classes are named by nobody.

    Returns
    -------
    Cohort
        Sorted, so that the same data gives the same cohort on every machine.

    Raises
    ------
    DataError
        ``SITE-CLASSES``, ``DATA-ROOT``, ``DATA-READ``, ``DATA-LAYOUT`` or ``DATA-EMPTY``, or a problem of the index as a whole.
    """
    if site.classes and len(site.classes) != len(study.task.classes):
        what = f"site {site.name} names {len(site.classes)} classes, the study has {len(study.task.classes)}."
        raise DataError("SITE-CLASSES", what, "Set 'classes' in site.toml to one name for each class, in the study's order.")
    require_readable(site)
    with FileIndex(site, progress) as index:
        listing = _list_patients(site, study, index, inferred=inferred)
        images, divided = select_patients(_group_images(listing), site, study, patient_ids=listing.patient_ids)
        listing = replace(listing, warnings=(*listing.warnings, *divided))
        if not images:
            raise no_images_error(site, study, listing, index)
        cohort = _build_cohort(images, listing, site, study, index)
        if not account:
            return cohort
        entries = [entry for image in images for entry in image]
        files = account_files(site, index, entries, study.task.modality, listing.not_meant, listing.tables)
        return replace(cohort, files=files)


def check_division(site: Site, study: Study) -> None:
    """Raise what `read_cohort` does where the patients of a data set cannot be divided among simulated hospitals."""
    require_readable(site)
    with FileIndex(site) as index:
        listing = _list_patients(site, study, index)
        select_patients(_group_images(listing), site, study, patient_ids=listing.patient_ids)


def _list_patients(site: Site, study: Study, index: FileIndex, *, inferred: bool = False) -> Listing:
    return arrange_channels(unite_patients(list_images(site, study, index, inferred=inferred)), study, site.data)


def _group_images(listing: Listing) -> list[list[Entry]]:
    """Return the entries about each image, of which the first one stands for it; what is set aside is no copy of anything."""
    wanted = [entry for entry in listing.entries if parse_split_name(entry.split) != UNLABELLED]
    groups = [sorted(group, key=lambda entry: not is_usable(entry)) for group in group_copies(wanted)]
    return groups + [[entry] for entry in listing.entries if parse_split_name(entry.split) == UNLABELLED]


def data_stamp(site: Site) -> tuple[int, ...]:
    """Return when cases of a site were added or taken away last; cheap enough to be asked with every message.

    The times of the index, of the data folder and of the folders in it, in nanoseconds; a file that is overwritten in place
    does not show.
    """
    try:
        folders = sorted(entry.path for entry in os.scandir(str(site.root)) if entry.is_dir())
    except OSError:
        return ()
    return tuple(_mtime_ns(path) for path in (site.root, site.root / site.data.index, *map(Path, folders)))


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def find_missing_classes(present: Iterable[int], study: Study, annotated: Iterable[int] = ()) -> tuple[Finding, ...]:
    """Return a warning if the labels of a site lack foreground classes of the study entirely.

    Parameters
    ----------
    present : iterable of int
        Classes that occur at the site.
    study : Study
        Names the classes.
    annotated : iterable of int
        Classes that were looked for in some case; empty: all.
    """
    absent = (set(annotated) or set(range(len(study.task.classes)))) - set(present)
    names = [name for value, name in enumerate(study.task.classes) if value in absent and name in study.task.foreground]
    if not names:
        return ()
    what = f"no case of this site has: {', '.join(names)}."
    return (Finding("LBL-NO-CLASS", "", what, "Check 'classes' in site.toml if the site does have it.", "warning"),)


def _build_cohort(images: Sequence[Sequence[Entry]], listing: Listing, site: Site, study: Study, index: FileIndex) -> Cohort:
    secret = site.secret()
    findings, cases, records = [], [], []
    wanted = [group for group in images if parse_split_name(group[0].split) != UNLABELLED]
    splits_given = any(entry.split for group in wanted for entry in group)
    for group in wanted:
        first = group[0]
        name = pseudonym(secret, "case", site.name, first.patient, first.key)
        status = "usable"
        try:
            if conflict := find_conflict(group, patient_ids=listing.patient_ids):
                raise conflict
            cases.append(build_case(name, first, site, study, secret, splits_given))
        except DataError as error:
            status = error.code
            findings.append(Finding.from_error(error, name))
        records.append(build_record(name, status, first, site, study, secret, copies=group))
        if len(group) > 1 and status == "usable":
            findings.append(copies_warning(len(group)).of_case(name))
    if torn := find_torn_patients(cases):
        left_out = {case.name for case in cases if case.patient in torn}
        findings += [Finding.from_error(torn_patient_error(len(torn)), name) for name in left_out]
        records = [replace(one, status="SPLIT-LEAK") if one.case in left_out else one for one in records]
        cases = [case for case in cases if case.name not in left_out]
    save_cases(index.database, study.name, records)
    n_unlabelled = len(images) - len(wanted)
    findings += _site_findings(n_unlabelled, listing, cases, findings, site, study, index)
    return Cohort(
        tuple(sorted(cases, key=lambda case: case.split_order)),  # not by pseudonym: a site's secret must not change a result
        tuple(sorted(findings, key=lambda finding: (finding.code, finding.case))),
        listing.patient_ids,
    )


def _no_image_warning(findings: Sequence[Finding], site: Site) -> Finding | None:
    """Return what to do where the only finding of all cases is that nobody could tell where their image is."""
    n_missing, n_several = (sum(finding.code == code for finding in findings) for code in ("IMG-MISSING", "IMG-SEVERAL"))
    if not findings or n_missing + n_several < len(findings):
        return None
    fix = advise_on_index(site, "folders", ()) or advise_on_class_folders(site.root)
    if not fix and (n_several or n_missing == 1):
        return None  # of these, the cases themselves say what to do
    what = f"none of the {n_missing} images was found." if n_missing > 1 else "no image was found."
    return Finding.warning("IMG-MISSING", what, fix or f"Look at 'image' and 'root' in [data]; image is {site.data.image!r}.")


def _site_findings(
    n_unlabelled: int,
    listing: Listing,
    cases: Sequence[Case],
    findings: Sequence[Finding],
    site: Site,
    study: Study,
    index: FileIndex,
) -> list[Finding]:
    """Return what is to be known about the site as a whole."""
    warnings = [*listing.warnings, *filter(None, [index.problem])]
    if n_unlabelled:
        what = f"{n_unlabelled} image(s) are set aside as unlabelled."
        warnings.append(Finding.warning("LBL-UNLABELLED", what, "Nothing to do."))
    n_without_label = sum(finding.code == "LBL-MISSING" for finding in findings)
    if n_without_label > 1:
        what = f"{n_without_label} of {len(cases) + len(findings)} cases have an image but no label."
        fix = f"Add the labels, or write '{UNLABELLED}' in the column 'split' of the index."
        warnings.append(Finding.warning("LBL-MISSING", what, fix))
    if not cases and (nothing := _no_image_warning(findings, site)):
        warnings.append(nothing)
    if study.task.kind == "segmentation" and site.data.annotated_classes:
        try:
            names_to_classes(site.data.annotated_classes, study, site, "'annotated-classes' in site.toml")
        except DataError as error:
            warnings.append(Finding.from_error(error, level="warning"))
    if study.task.kind == "classification" and cases:
        missing_classes = find_missing_classes({case.label for case in cases if isinstance(case.label, int)}, study)
    else:
        missing_classes = ()
    if len({case.patient for case in cases}) == 1:
        what = "the site has one patient, who trains: nothing is left to validate or test with."
        warnings.append(Finding.warning("SITE-ONE-PATIENT", what, "Add patients."))
    return [*warnings, *missing_classes]
