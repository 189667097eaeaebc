"""Images of a data folder that a model can predict, with their labels where there are any.

What is wrong with an image leaves it out with the code that it would have in training; what is wrong with a label only takes
the label away, so that the prediction is not scored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medfl.data.case_building import build_case, build_record, copies_warning, find_conflict, is_usable
from medfl.data.cases import Case, Cohort, Source
from medfl.data.data_folder import DataFolder
from medfl.data.file_account import FileAccount
from medfl.data.findings import Finding
from medfl.data.index.case_records import CaseRecord, add_cases
from medfl.data.index.file_index import FileIndex, Progress
from medfl.data.layouts.accounting import account_files
from medfl.data.layouts.channels import arrange_channels
from medfl.data.layouts.copies import group_copies
from medfl.data.layouts.csv import as_unlabelled
from medfl.data.layouts.detect import detect_layout, list_images, require_readable
from medfl.data.layouts.dicom import list_every_series
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.layouts.loose_images import list_loose_images
from medfl.data.layouts.patients import unite_patients
from medfl.data.layouts.unused_files import no_images_error
from medfl.data.pseudonyms import patient_pseudonym, pseudonym
from medfl.data.spelling import is_blank
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_NO_LABEL = "LBL-MISSING"
_TRAINING_CODES = ("SPLIT-", "ID-VISIT", "ID-SPELLING")  # beginnings of findings that matter to who trains and who tests
_TABLE_CODES = ("INDEX-MISSING", "INDEX-COLUMN")  # errors of a table that is needed for classes alone


def find_images_to_predict(data: DataFolder, study: Study, progress: Progress | None = None) -> Cohort:
    """Find the images of a data folder that a study's model can predict. Only headers and tables are read; no pixel is.

    Pseudonyms are those that the cases have in training, and are kept for ``medfl data whois``.

    Parameters
    ----------
    data : DataFolder
        The data.
    study : Study
        Study of the model.
    progress : callable, optional
        Called with (files read, files to read) while headers are read.

    Returns
    -------
    Cohort
        Its cases in the order of the data folder; their `label` is None where there is none to score with. Its account of
        files is None where a single image was named.

    Raises
    ------
    DataError
        As `medfl.data.cohort.read_cohort`.
    """
    site = data.site
    if site.classes and len(site.classes) != len(study.task.classes):
        what = f"site {site.name} names {len(site.classes)} classes, the study has {len(study.task.classes)}."
        raise DataError("SITE-CLASSES", what, "Set 'classes' in site.toml to one name for each class, in the study's order.")
    require_readable(site)
    with FileIndex(site, progress) as index:
        listing = arrange_channels(unite_patients(_list_entries(data, study, index)), study, site.data)
        if not listing.entries:
            raise no_images_error(site, study, listing, index)
        cases, records, findings = _build_cases(listing, site, study)
        add_cases(index.database, study.name, records)
        files = None if data.only else _account(site, index, listing, study)
    warnings = [warning for warning in listing.warnings if not warning.code.startswith(_TRAINING_CODES)]
    return Cohort(tuple(cases), (*findings, *warnings), listing.patient_ids, files)


def _account(site: Site, index: FileIndex, listing: Listing, study: Study) -> FileAccount:
    return account_files(site, index, listing.entries, study.task.modality, listing.not_meant, listing.tables)


def _list_entries(data: DataFolder, study: Study, index: FileIndex) -> Listing:
    site = data.site
    if data.only:
        return list_loose_images(site.root, data.only)
    try:
        layout = detect_layout(site, index)
    except DataError as error:
        if data.is_described or error.code != "DATA-LAYOUT":
            raise
        return list_loose_images(site.root)
    if layout == "dicom" and study.task.kind == "segmentation":
        return list_every_series(site, study, index)
    listing = _list_with_labels_or_without(site, study, index)
    return listing if layout != "folders" or data.is_described else _with_loose_images(listing, site.root)


def _with_loose_images(listing: Listing, root: Path) -> Listing:
    """Return a listing of folders in which those that are no patients, but for example classes, give each of their images."""

    def top_folder(path: Path) -> str:
        return path.relative_to(root).parts[0]

    known = [entry for entry in listing.entries if not _is_unclear(entry)]
    if len(known) == len(listing.entries):
        return listing
    clear = {top_folder(path) for entry in known if isinstance(entry.image, Source) for path in entry.image.paths}
    loose = list_loose_images(root)
    others = [entry for entry in loose.entries if top_folder(root / entry.key) not in clear]
    return replace(listing, entries=(*known, *others), warnings=(*listing.warnings, *loose.warnings))


def _is_unclear(entry: Entry) -> bool:
    return isinstance(entry.image, DataError) and entry.image.code in ("IMG-SEVERAL", "IMG-MISSING")


def _list_with_labels_or_without(site: Site, study: Study, index: FileIndex) -> Listing:
    site = as_unlabelled(site)
    try:
        return list_images(site, study, index)
    except DataError as error:
        if study.task.kind != "classification" or error.code not in _TABLE_CODES or not site.data.label:
            raise
    unlabelled = site.model_copy(update={"data": site.data.model_copy(update={"label": ""})})
    return list_images(unlabelled, study, index)


def _build_cases(listing: Listing, site: Site, study: Study) -> tuple[list[Case], list[CaseRecord], list[Finding]]:
    secret = site.secret()
    cases, records, findings = [], [], []
    for group in group_copies(listing.entries):
        entry = next((one for one in group if is_usable(one)), None) or _first_image(group)
        name = pseudonym(secret, "case", site.name, entry.patient, entry.key)
        status = "usable"
        if conflict := find_conflict(group, patient_ids=listing.patient_ids):
            entry = replace(entry, label=conflict)
        elif len(group) > 1:
            findings.append(copies_warning(len(group)).of_case(name))
        try:
            case, about_label = _build_case(name, entry, site, study, secret)
            cases.append(case)
            findings += about_label
            status = about_label[0].code if about_label else status if case.label is not None else _NO_LABEL
        except DataError as error:
            status = error.code
            findings.append(Finding.from_error(error, name))
        records.append(build_record(name, status, entry, site, study, secret, copies=group))
    return cases, records, findings


def _first_image(group: Iterable[Entry]) -> Entry:
    entries = list(group)
    return next((entry for entry in entries if isinstance(entry.image, Source)), entries[0])


def _build_case(name: str, entry: Entry, site: Site, study: Study, secret: bytes) -> tuple[Case, list[Finding]]:
    """Return a case with its label, or without one and with what is wrong with the label."""
    try:
        return build_case(name, replace(entry, split=""), site, study, secret, splits_given=False), []
    except DataError as error:
        if isinstance(entry.image, DataError) or not entry.patient:
            raise
        absent = error.code == _NO_LABEL and (isinstance(entry.label, DataError) or is_blank(str(entry.label)))
        warning = [] if absent else [Finding.from_error(error, name, "warning")]
        return Case(name, patient_pseudonym(secret, site.name, entry.patient), "", entry.image, None), warning
