"""Check of the images that have no label."""

from __future__ import annotations

from dataclasses import replace

from medfl.data.case_building import build_record
from medfl.data.cases import Case, Cohort, Source
from medfl.data.findings import Finding
from medfl.data.index.case_records import add_cases
from medfl.data.index.file_index import FileIndex
from medfl.data.layouts.detect import detect_layout, list_images
from medfl.data.layouts.entries import Entry, Listing, missing_label_error
from medfl.data.layouts.image_selection import ImageSelection
from medfl.data.layouts.object_sorting import sort_objects
from medfl.data.layouts.patients import unite_patients
from medfl.data.pseudonyms import patient_pseudonym, pseudonym
from medfl.data.quality.facts import CaseFacts
from medfl.site import Site
from medfl.study import Study

ONLY_IMAGES = "No label was found, so only the images were checked."
_MISSING_LABEL = missing_label_error()


def has_no_labels(cohort: Cohort) -> bool:
    """Return whether no case of a cohort can be used, and some have no label; others may have something else wrong."""
    return not cohort.cases and bool(_names_without_label(cohort))


def unlabelled_cases(site: Site, study: Study, cohort: Cohort) -> list[Case]:
    """Return a case for each image that lacks nothing but its label.

    Where nothing is labelled, that is every series of the study's modality in a DICOM tree. Pseudonyms are those that the cases
    will have when they are labelled, and are kept for ``medfl data whois``.

    Parameters
    ----------
    site : Site
        The hospital.
    study : Study
        Study that was assumed for the check.
    cohort : Cohort
        Cohort as it was read.
    """
    missing = _names_without_label(cohort)
    if not missing:
        return []
    excluded = {finding.case for finding in cohort.findings if finding.case and finding.case not in missing}
    every = has_no_labels(cohort)
    secret = site.secret()
    cases, records = [], []
    with FileIndex(site) as index:
        if detect_layout(site, index) == "dicom":
            objects = sort_objects(index.tree(site.root), study.task.modality, site.data, index.others(site.root))
            ImageSelection.of(site, study).narrow(objects)
            entries = [
                Entry(uid, items[0].patient, Source.of_files(items), _MISSING_LABEL)
                for uid, items in sorted(objects.series.items())
            ]
            listing = Listing(tuple(entries), patient_ids=True)
        else:
            listing = list_images(site, study, index, inferred=True)
        for entry in unite_patients(listing).entries:
            if not isinstance(entry.image, Source):
                continue
            name = pseudonym(secret, "case", site.name, entry.patient, entry.key)
            cases.append(Case(name, patient_pseudonym(secret, site.name, entry.patient), "", entry.image, None))
            records.append(build_record(name, _MISSING_LABEL.code, entry, site, study, secret))
        selected = [case for case in cases if case.name in missing or (every and case.name not in excluded)]
        new = {case.name for case in selected} - missing
        add_cases(index.database, study.name, [record for record in records if record.case in new])
    return list({case.name: case for case in selected}.values())


def _names_without_label(cohort: Cohort) -> set[str]:
    return {finding.case for finding in cohort.findings if finding.case and finding.code == _MISSING_LABEL.code}


def mark_unlabelled(facts: CaseFacts) -> CaseFacts:
    """Return the facts of such a case: what is wrong with its image, or else that it has no label."""
    missing = (Finding.from_error(_MISSING_LABEL, facts.case),) if facts.usable else ()
    return replace(facts, split="", amounts=(), findings=(*facts.findings, *missing))
