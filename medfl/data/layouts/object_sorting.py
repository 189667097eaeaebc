"""Sorting of the files of a folder into series, labels and the rest, and of what is missing from a series."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from medfl.data.dicom.own_predictions import is_own_prediction
from medfl.data.dicom.sop_classes import is_secondary_capture
from medfl.data.index.file_facts import IndexedFile
from medfl.data.layouts.dicom_objects import DicomObjects
from medfl.data.layouts.image_kinds import ObjectKind, is_own_class, is_set_aside, object_kind
from medfl.data.layouts.missing_parts import ImagePlaces, is_named_as_dicom
from medfl.data.layouts.slice_contents import may_be_slice
from medfl.site import SiteData
from medfl.study.task import Modality

_SCREEN_MODALITIES = ("XR", "US")  # modalities whose images may be secondary captures


def sort_objects(
    items: Sequence[IndexedFile], modality: Modality | None, settings: SiteData, others: Sequence[IndexedFile] = ()
) -> DicomObjects:
    """Sort files by what they are.

    Parameters
    ----------
    items : sequence of IndexedFile
        Files of the index.
    modality : str, optional
        Modality of the study; without one, images of every modality are used.
    settings : SiteData
        Whether files without preamble, secondary captures, and segmentations that medfl predicted count.
    others : sequence of IndexedFile
        The files beside them that are no DICOM: an empty or a compressed one may be a missing part of a series.
    """
    found = DicomObjects(files=sum(item.kind != "media" for item in items) + len(others))
    readable, unread = [], []
    for item in (*items, *others):
        if item.kind == "dicom" or (item.kind == "headerless" and settings.allow_headerless):
            readable.append(item)
        elif item.kind != "media":
            unread.append(item)
            found.headerless += item.kind == "headerless"
    kinds = [(item, _add_file(item, modality, found, settings)) for item in readable]
    _sort_doubtful([item for item, kind in kinds if kind == "doubtful"], modality, found)
    _find_other_modalities([item for item, kind in kinds if kind == "other modality"], found)
    _find_nameless(found)
    _set_aside(found, modality, screens=modality in _SCREEN_MODALITIES and settings.burned_in == "allow")
    in_dicomdir = _find_absent(items, others, found)
    images = ((item, series_key(item)) for item, kind in kinds if unread and kind not in ("label", "no image"))
    places = ImagePlaces(images, (item.path_text for item in unread))
    for item in unread:
        _attribute(item, places, in_dicomdir, found)
    return found


def series_key(item: IndexedFile) -> str:
    """Return what stands for the series of an image: its SeriesInstanceUID, or its patient and study where it has none."""
    return item.text("SeriesInstanceUID") or f"{item.patient}|{item.text('StudyInstanceUID')}"


def _add_file(item: IndexedFile, modality: Modality | None, found: DicomObjects, settings: SiteData) -> ObjectKind:
    kind = object_kind(item, modality)
    if kind == "label" and not settings.allow_predictions and is_own_prediction(item.header):
        found.predicted_labels += 1
    elif kind == "label" and (references := item.references):
        found.labels.append(references)
        found.label_files.append(item)
    elif kind in ("image", "screen"):
        found.series[series_key(item)].append(item)
    elif kind != "doubtful":
        found.other_images.add(item.text("SOPInstanceUID"))
    return kind


def _sort_doubtful(items: Sequence[IndexedFile], modality: Modality | None, found: DicomObjects) -> None:
    """Count images without a Modality to rely on as faults of their series, or as a faulty series of their own."""
    for item in items:
        key = series_key(item)
        if key in found.series or is_own_class(item, modality):
            found.series[key].append(item)
            found.doubtful.add(item.path_text)
            found.faults[key]["modality"] += 1
            found.fault_files[key].append(item.path)
        else:
            found.other_images.add(item.text("SOPInstanceUID"))
            found.faults[""]["modality"] += 1


def _find_other_modalities(items: Sequence[IndexedFile], found: DicomObjects) -> None:
    """Count images of another modality as faults of a series, which has one (PS3.3 C.7.3.1.1.1); pages of a screen are none."""
    for item in items:
        if (key := series_key(item)) in found.series and not is_secondary_capture(item.text("SOPClassUID")):
            found.faults[key]["modality"] += 1
            found.fault_files[key].append(item.path)


def _find_nameless(found: DicomObjects) -> None:
    """Count images that name no series as faults of the series of their study; alone in it and in a folder, they are one."""
    keys = [key for key, items in found.series.items() if not items[0].text("SeriesInstanceUID")]
    if not keys:
        return
    studies: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, items in found.series.items():
        studies[_study(items)].append(key)
    for key in keys:
        beside = studies[_study(found.series[key])]
        folders = {item.path.parent for item in found.series[key]}
        for other in beside if len(beside) > 1 or len(folders) > 1 else ():
            found.faults[other]["no series"] += len(found.series[key])
            found.fault_files[other] += [item.path for item in found.series[key]]


def _set_aside(found: DicomObjects, modality: Modality | None, *, screens: bool) -> None:
    """Take scouts and pages of a screen from the series of a study that has others.

    Where a study has nothing else, the largest stays, to be refused when it is read: the images of the study are missing.
    """
    studies: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, items in found.series.items():
        studies[_study(items)].append(key)
    for keys in studies.values():
        beside = [key for key in keys if is_set_aside(found.series[key], modality, screens=screens)]
        if len(beside) == len(keys):
            beside.remove(max(beside, key=lambda key: (len(found.series[key]), key)))
        for key in beside:
            found.set_aside[key] = found.series.pop(key)
            found.other_images |= {item.text("SOPInstanceUID") for item in found.set_aside[key]}


def _study(items: Sequence[IndexedFile]) -> tuple[str, str]:
    return items[0].patient, items[0].text("StudyInstanceUID")


def _find_absent(items: Sequence[IndexedFile], others: Sequence[IndexedFile], found: DicomObjects) -> dict[str, str]:
    """Count files that DICOMDIRs name and that are not there, and return the SeriesInstanceUIDs that they state, by path."""
    named = [(os.path.join(item.path.parent, name), uid) for item in items for name, uid in item.dicomdir_entries]
    if named:
        present = {item.path_text.casefold() for item in (*items, *others)}  # a file system may change the letters
        for path, uid in named:
            if path.casefold() not in present:
                found.faults[uid if uid in found.series else ""]["absent"] += 1
                found.fault_files[uid].append(Path(path))
    return {path.casefold(): uid for path, uid in named if uid}


def _attribute(item: IndexedFile, places: ImagePlaces, in_dicomdir: Mapping[str, str], found: DicomObjects) -> None:
    """Count a file that cannot be read as a fault of the series that it may be a part of."""
    fault = item.kind if item.kind in ("outside", "archive", "headerless") else "damaged"
    uid = item.text("SeriesInstanceUID") or in_dicomdir.get(item.path_text.casefold(), "")
    named = {uid} if uid else places.find_series(item.path_text, dicom=item.kind in ("damaged", "headerless"))
    follows = not named and places.may_follow(item.path_text)
    if (named or follows) and not uid and not may_be_slice(item, places):
        return
    series = named & found.series.keys()
    for key in series:
        found.faults[key][fault] += 1
        found.fault_files[key].append(item.path)
    named_as_dicom = item.kind in ("empty", "other") and is_named_as_dicom(item.path_text)
    if not series and (item.kind in ("damaged", "unopened") or named_as_dicom or follows):
        found.faults[""]["damaged"] += 1
