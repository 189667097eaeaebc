"""Layout `dicom`: a tree of DICOM files in any order, as a PACS exports it. The headers say what belongs together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.index.file_facts import IndexedFile
from medfl.data.index.file_index import FileIndex
from medfl.data.layouts.anonymous_ids import find_constant_ids, frequent_id_warnings, is_placeholder
from medfl.data.layouts.dicom_objects import DicomObjects, count_shared_images
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.layouts.image_selection import ImageSelection
from medfl.data.layouts.label_matching import is_unlabelled, match_labels
from medfl.data.layouts.object_sorting import sort_objects
from medfl.data.layouts.own_predictions import prediction_folder_warnings
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study


def list_dicom(site: Site, study: Study, index: FileIndex, selection: ImageSelection) -> Listing:
    """List one case a series, or in a study of dimension 2 one an image. The patient is PatientID with its issuer.

    Series that no segmentation refers to are passed over when another series of the patient has one. In classification, the
    columns `patient` and `label` of the site's index give the class of a PatientID. A file that cannot be read, or that a
    DICOMDIR names and that is missing, makes its series unusable if it is known which one that is.

    Raises
    ------
    DataError
        ``ID-CONSTANT`` when all studies share one PatientID, ``DCM-NONE`` when all files lack the preamble; ``INDEX-*`` in
        classification.
    """
    objects = sort_objects(index.tree(site.root), study.task.modality, site.data, index.others(site.root))
    objects.require_images()
    selection.narrow(objects)
    images = [item for items in objects.series.values() for item in items]
    warnings = _check_patient_ids(images, classes=study.task.kind == "classification")
    if study.task.kind == "classification" and study.task.dimension == 2:
        objects.treat_images_separately()
    if study.task.kind == "segmentation":
        entries = _segmentation_entries(objects, match_labels(objects, site.data))
        warnings += _unused_series_warnings(objects, entries)
    else:
        entries = _classification_entries(objects, flat=study.task.dimension == 2)
    if n_shared := count_shared_images(images):
        what = f"{n_shared} image(s) lie here under two patient ids, so one person may both train and test."
        warnings.append(Finding.warning("ID-TWICE", what, "Keep one copy of each image, under one id for each patient."))
    return Listing(tuple(entries), patient_ids=True, warnings=(*objects.warnings(), *warnings))


def list_every_series(site: Site, study: Study, index: FileIndex) -> Listing:
    """List every series that a study of segmentation could be about, with its label or without: each series is a case.

    In a study of dimension 2 each image of a series without a label is a case.

    Raises
    ------
    DataError
        ``IMG-SELECT``, ``DCM-NONE``.
    """
    selection = ImageSelection.of(site, study)
    objects = sort_objects(index.tree(site.root), study.task.modality, site.data, index.others(site.root))
    objects.require_images()
    selection.narrow(objects)
    labels = match_labels(objects, site.data)
    entries = []
    warnings = [*objects.warnings(), *prediction_folder_warnings(index.skipped.predictions)]
    for uid, items in sorted(objects.series.items()):
        if study.task.dimension == 2 and is_unlabelled(labels[uid]):
            entries += [_image_entry(item, objects, labels[uid]) for item in items]
        else:
            entries.append(_series_entry(uid, items, objects, labels[uid]))
    return selection.finish(Listing(tuple(entries), patient_ids=True, warnings=tuple(warnings)))


def _check_patient_ids(images: Sequence[IndexedFile], *, classes: bool) -> list[Finding]:
    """Refuse a folder whose ids do not distinguish patients, and return warnings where it is doubtful.

    `classes` says whether a table names classes by PatientID.
    """
    studies: dict[str, set[str]] = defaultdict(set)
    issuers: dict[str, set[str]] = defaultdict(set)
    for item in images:
        studies[item.patient].add(item.text("StudyInstanceUID"))
        issuers[item.text("PatientID")].add(item.text("IssuerOfPatientID"))
    constant = find_constant_ids(studies)
    if constant:
        largest = max(len(studies[patient]) for patient in constant)
        what = f"{largest} studies share one PatientID, so patients cannot be kept apart."
        raise DataError("ID-CONSTANT", what, "Export with a pseudonymous ID for each patient, or use an index with patients.")
    doubtful = sum(len(of_number) > 1 and (classes or "" in of_number) for number, of_number in issuers.items() if number)
    if doubtful:
        what = f"{doubtful} PatientID(s) come with different issuers, or with and without one: one person, or several?"
        raise DataError("ID-ISSUER", what, "Export with one issuer throughout, or use an index with a column 'patient'.")
    return frequent_id_warnings(studies, {"", *filter(is_placeholder, studies)})


def _unused_series_warnings(objects: DicomObjects, entries: Sequence[Entry]) -> list[Finding]:
    """Return warnings about series that are no entries: of patients who have a segmentation, and of those who have none."""
    labelled = {entry.patient for entry in entries if not is_unlabelled(entry.label)}
    listed = {entry.key for entry in entries}
    rest = [items[0].patient in labelled for uid, items in objects.series.items() if uid not in listed]
    warnings = []
    if count := sum(rest):
        what = f"{count} series without a segmentation {_are_not_looked_at(count)} another one that has one."
        warnings.append(Finding.warning("DCM-UNUSED-SERIES", what, "Nothing to do, unless they should have one, too."))
    if count := len(rest) - sum(rest):
        what = (
            f"{count} further series {_are_not_looked_at(count)} no segmentation at all, and each patient counts as one case."
        )
        warnings.append(Finding.warning("DCM-UNUSED-SERIES", what, "Add the segmentations, if these are images of the study."))
    return warnings


def _are_not_looked_at(count: int) -> str:
    return f"{'is' if count == 1 else 'are'} not looked at: {'its patient has' if count == 1 else 'their patients have'}"


def _segmentation_entries(objects: DicomObjects, labels: Mapping[str, Source | DataError]) -> list[Entry]:
    by_patient: dict[str, list[Entry]] = defaultdict(list)
    for uid, items in sorted(objects.series.items()):
        by_patient[items[0].patient].append(_series_entry(uid, items, objects, labels[uid]))
    entries = []
    for own_entries in by_patient.values():
        entries += [entry for entry in own_entries if not is_unlabelled(entry.label)] or own_entries[:1]
    return entries


def _classification_entries(objects: DicomObjects, *, flat: bool) -> list[Entry]:
    """Return the images, without their classes, which come from the table of patients."""
    entries = []
    for uid, items in sorted(objects.series.items()):
        if flat:
            entries += [_image_entry(item, objects, "") for item in items]
        else:
            entries.append(_series_entry(uid, items, objects, ""))
    return entries


def _series_entry(uid: str, items: Sequence[IndexedFile], objects: DicomObjects, label: Source | str | DataError) -> Entry:
    return Entry(
        uid,
        items[0].patient,
        objects.series_error(uid) or Source.of_files(items),
        label,
        image_files=tuple(item.path for item in items),
        label_files=objects.label_candidates.get(uid, ()),
        damaged_files=objects.series_damages(uid),
    )


def _image_entry(item: IndexedFile, objects: DicomObjects, label: Source | str | DataError) -> Entry:
    image = objects.image_error(item) or Source.of_files([item])
    key = item.text("SOPInstanceUID") or item.path_text
    return Entry(key, item.patient, image, label, image_files=(item.path,))
