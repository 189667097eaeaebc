"""Matching of DICOM SEG and RTSTRUCT with series: by the images that they refer to, never by the order of files."""

from __future__ import annotations

import filecmp
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.dicom.checks import check_series
from medfl.data.dicom.references import LabelReferences, check_references
from medfl.data.index.file_facts import IndexedFile
from medfl.data.layouts.dicom_objects import DicomObjects
from medfl.data.layouts.entries import missing_label_error
from medfl.errors import DataError
from medfl.site import SiteData


def match_labels(objects: DicomObjects, settings: SiteData) -> dict[str, Source | DataError]:
    """Match labels and series.

    A label belongs to the one series that holds all the images it was drawn on. One that refers to no image here belongs to the
    one series in its frame of reference, and only if the site says so (``label-match``).

    Parameters
    ----------
    objects : DicomObjects
        The objects of a folder; takes how many labels belong to nothing, and which ones may be meant where none can be used.
    settings : SiteData
        Says how labels are matched.

    Returns
    -------
    dict of str to Source or DataError
        The label of each series by its UID, or why it has none.
    """
    fitting: dict[str, list[LabelReferences]] = defaultdict(list)
    errors: dict[str, DataError] = {}
    candidates: dict[str, list[LabelReferences]] = defaultdict(list)  # labels that have to do with a series
    owners = _series_by_image(objects.series)
    images = {uid: {item.text("SOPInstanceUID") for item in items} for uid, items in objects.series.items()}
    for references in objects.labels:
        shared = Counter(uid for image in references.images for uid in owners.get(image, ()))
        for uid in shared:
            candidates[uid].append(references)
        whole = sorted(uid for uid in shared if references.fits(images[uid]))
        if len(whole) == 1:
            fitting[whole[0]].append(references)
        elif whole:
            errors |= {uid: _ambiguous_error(len(whole), "hold the images it refers to") for uid in whole}
        elif shared:
            errors |= {
                uid: problem for uid in shared if (problem := _reference_error(references, objects.series[uid], settings))
            }
        elif references.images.isdisjoint(objects.other_images):  # else it was drawn on images of another kind
            framed = _match_by_frame(references, objects, settings, fitting, errors)
            objects.orphan_labels += not framed
            for uid in framed:
                candidates[uid].append(references)
    files = dict(zip((references.path for references in objects.labels), objects.label_files, strict=True))
    labels = {uid: _pick_label(fitting[uid], files, errors.get(uid)) for uid in objects.series}
    _record_unmatched(objects, labels, fitting, candidates)
    return labels


def is_unlabelled(label: Source | str | DataError) -> bool:
    """Return whether there is no label at all, rather than one that cannot be used."""
    return isinstance(label, DataError) and label.code == "LBL-MISSING"


def _record_unmatched(
    objects: DicomObjects,
    labels: Mapping[str, Source | DataError],
    fitting: Mapping[str, Sequence[LabelReferences]],
    candidates: Mapping[str, Sequence[LabelReferences]],
) -> None:
    """Keep which labels nobody would hear of, and which ones may be meant for a series without a usable one."""
    homes: dict[Path, set[str]] = defaultdict(set)
    for uid, several in candidates.items():
        for references in several:
            homes[references.path].add(uid)
    kept = {references.path for several in fitting.values() for references in several}
    objects.unused_labels = sum(
        path not in kept and all(isinstance(labels[uid], Source) for uid in uids) for path, uids in homes.items()
    )
    for uid, label in labels.items():
        if isinstance(label, DataError):
            chosen = fitting[uid] if label.code == "LBL-SEVERAL" else candidates.get(uid, ())
            objects.label_candidates[uid] = tuple(references.path for references in chosen)


def _series_by_image(series: Mapping[str, Sequence[IndexedFile]]) -> dict[str, set[str]]:
    owners: dict[str, set[str]] = defaultdict(set)
    for uid, items in series.items():
        for item in items:
            owners[item.text("SOPInstanceUID")].add(uid)
    return owners


def _match_by_frame(
    references: LabelReferences,
    objects: DicomObjects,
    settings: SiteData,
    fitting: dict[str, list[LabelReferences]],
    errors: dict[str, DataError],
) -> list[str]:
    """Place a label that refers to no image here by its frame of reference; return the series that share it."""
    candidates = [
        uid
        for uid, items in sorted(objects.series.items())
        if references.frame_of_reference and _frame_of_reference(items) == references.frame_of_reference
    ]
    if not candidates:
        return []
    if len(candidates) > 1:
        errors.setdefault(
            candidates[0],
            _ambiguous_error(len(candidates), "lie in its frame of reference, and it refers to none of their images"),
        )
    elif problem := _reference_error(references, objects.series[candidates[0]], settings):
        errors.setdefault(candidates[0], problem)
    else:
        fitting[candidates[0]].append(references)
    return candidates


def _reference_error(references: LabelReferences, items: Sequence[IndexedFile], settings: SiteData) -> DataError | None:
    try:
        check_references(references, {item.text("SOPInstanceUID") for item in items}, _frame_of_reference(items), settings)
    except DataError as error:
        return _series_error(items, settings) or error  # lost slices explain why the label refers to more than there is
    return None


def _series_error(items: Sequence[IndexedFile], settings: SiteData) -> DataError | None:
    try:
        check_series([item.header for item in items], settings)
    except DataError as error:
        return error
    return None


def _frame_of_reference(items: Sequence[IndexedFile]) -> str:
    frames = {item.text("FrameOfReferenceUID") for item in items}
    return frames.pop() if len(frames) == 1 else ""


def _pick_label(
    fitting: Sequence[LabelReferences], files: Mapping[Path, IndexedFile], error: DataError | None
) -> Source | DataError:
    fitting = drop_copies(fitting)
    if len(fitting) > 1:
        what = f"{len(fitting)} segmentations were drawn on this series."
        return DataError("LBL-SEVERAL", what, "Keep the one that is meant in the folder, or name it in an index.")
    if fitting:
        return Source.of_files([files[fitting[0].path]])
    return error or missing_label_error()


def drop_copies(labels: Sequence[LabelReferences]) -> list[LabelReferences]:
    """Return labels without those whose files are byte for byte that of another: what was copied is not drawn twice."""
    kept: list[LabelReferences] = []
    for label in sorted(labels, key=lambda label: label.path) if len(labels) > 1 else labels:
        if not any(filecmp.cmp(label.path, other.path, shallow=False) for other in kept):
            kept.append(label)
    return kept


def _ambiguous_error(count: int, why: str) -> DataError:
    return DataError("LBL-WRONG-SERIES", f"the label fits {count} series, which {why}.", "Name series and label in an index.")
