"""Layout `folders`: one folder a patient, with image and mask files recognised by their names, or with DICOM."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.file_index import FileIndex
from medfl.data.index.prediction_folders import holds_predictions
from medfl.data.index.walk import SkippedFolders, is_hidden
from medfl.data.layouts.channels import names_in_patterns
from medfl.data.layouts.dicom_objects import DicomObjects
from medfl.data.layouts.entries import Entry, Listing, missing_label_error
from medfl.data.layouts.image_selection import ImageSelection, other_images_error
from medfl.data.layouts.label_matching import is_unlabelled, match_labels
from medfl.data.layouts.object_sorting import sort_objects
from medfl.data.layouts.sources import NIFTI_SUFFIXES, is_image_file, make_source, named_files
from medfl.data.layouts.visit_folders import CaseFiles, divide_cases
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study

_DEFAULTS = SiteData()
_DEFAULT_WORDS = {  # what files are called when the site names no pattern
    _DEFAULTS.image: ("image", "img", "volume"),
    _DEFAULTS.label: ("label", "labels", "mask", "maske", "masque", "seg", "segmentation", "segmentierung"),
}
_WORDS = frozenset(word for words in _DEFAULT_WORDS.values() for word in words)
_SEVERAL_CASES = "If these are several cases of a patient, list them in an index.csv with the columns image, label and patient"


def is_folders(root: Path) -> bool:
    """Return whether a folder holds folders and no image of its own."""
    files = [path for path in root.iterdir() if is_image_file(path.name) and path.is_file()]
    return not files and any(_patient_folders(root))


def list_folders(site: Site, study: Study, index: FileIndex, selection: ImageSelection) -> Listing:
    """List one case for each folder, or for each visit in it; the name of the folder is the patient.

    The site's `image` and `label` are words that file names hold between ``_``, ``-`` and ``.``, or patterns such as
    ``"*/t1*.nii.gz"``; several images, one a channel, are joined by commas. In classification, the columns `patient` and
    `label` of the site's index give the classes.

    Raises
    ------
    DataError
        ``DCM-NONE`` when all files are DICOM without preamble.
    """
    masks = study.task.kind == "segmentation"
    files_by_folder = {folder: named_files(folder, index.skipped) for folder in _patient_folders(site.root, index.skipped)}
    files = {folder: [path for path in paths if is_image_file(path.name)] for folder, paths in files_by_folder.items()}
    dicom = index.trees([folder for folder, images in files.items() if not images])
    objects = {
        folder: sort_objects(items, study.task.modality, site.data, index.others(folder)) for folder, items in dicom.items()
    }
    if not any(files.values()):
        _merge_objects(objects.values()).require_images()
    for found in objects.values():
        selection.narrow(found)
    entries = []
    for case in divide_cases(files, _WORDS, lambda part: _is_case(part, site, masks)):
        folder, images = case.folder, case.files
        image: Source | DataError
        label: Source | DataError = missing_label_error()
        label_files: tuple[Path, ...] = ()
        damaged: tuple[Path, ...] = ()
        if os.fspath(folder) in index.skipped.closed:
            image = _closed_folder_error()
        elif images:
            image = _find_image(folder, images, site, masks)
            label, label_files = _find_label(folder, images, site.data.label) if masks else (label, ())
        else:
            image, label = _pick_series(objects[folder], site, study)
            label_files = tuple(path for paths in objects[folder].label_candidates.values() for path in paths)
            damaged = tuple(path for uid in objects[folder].series for path in objects[folder].series_damages(uid))
        case_label = label if masks else ""  # classes come from the table of patients
        entries.append(Entry(case.key, case.patient, image, case_label, label_files=label_files, damaged_files=damaged))
    warnings = _merge_objects(objects.values()).warnings()
    channels = names_in_patterns(site.data.image)
    names = frozenset(entry.patient for entry in entries)
    return Listing(tuple(entries), patient_ids=True, warnings=tuple(warnings), channels=channels, folder_ids=names)


def _is_case(part: CaseFiles, site: Site, masks: bool) -> bool:
    """Return whether files hold one image, and no two masks."""
    labels = [path for path in part.files if _matches(part.folder, path, site.data.label)]
    return isinstance(_find_image(part.folder, part.files, site, masks), Source) and len(labels) <= 1


def _closed_folder_error() -> DataError:
    what = "the folder of the case cannot be opened."
    return DataError("IMG-READ", what, "Check its permissions: the account that runs medfl must read it.")


def _merge_objects(parts: Iterable[DicomObjects]) -> DicomObjects:
    """Return the objects of all folders together."""
    total = DicomObjects()
    for part in parts:
        total.files += part.files
        total.headerless += part.headerless
        total.orphan_labels += part.orphan_labels
        total.unused_labels += part.unused_labels
        total.predicted_labels += part.predicted_labels
        total.faults[""].update(part.faults.get("", {}))
        total.series |= part.series
        total.other_images |= part.other_images
    return total


def _patient_folders(root: Path, skipped: SkippedFolders | None = None) -> list[Path]:
    """Return the folders of patients; a link to a folder is none, nor one of predictions, and both are noted."""
    folders = [path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name)]
    if skipped is not None:
        skipped.links |= {os.fspath(path) for path in folders if path.is_symlink()}
    own = {path for path in folders if not path.is_symlink() and holds_predictions(path)}
    if skipped is not None:
        skipped.predictions |= set(map(os.fspath, own))
    return sorted(path for path in folders if not path.is_symlink() and path not in own)


def _find_image(folder: Path, files: Sequence[Path], site: Site, masks: bool) -> Source | DataError:
    chosen: list[Path] = []
    for pattern in [part.strip() for part in site.data.image.split(",")]:
        matching = [path for path in files if _matches(folder, path, pattern)]
        if not matching and len(files) == 1 and not masks and not _matches(folder, files[0], _DEFAULTS.label):
            matching = list(files)
        if len(matching) > 1:
            what = f"{len(matching)} files of a folder fit the image."
            fix = f"{_SEVERAL_CASES}; else set 'image' in site.toml to a pattern that fits one."
            return DataError("IMG-SEVERAL", what, fix)
        if not matching:
            what = f"none of the {len(files)} files of a folder fits the image."
            return DataError(
                "IMG-MISSING",
                what,
                "Set 'image' in site.toml to a pattern that fits, or move a folder that is no patient's away.",
            )
        chosen += matching
    try:
        return make_source(tuple(chosen))
    except DataError as error:
        return error


def _find_label(folder: Path, files: Sequence[Path], pattern: str) -> tuple[Source | DataError, tuple[Path, ...]]:
    """Return the mask, and where there are several, all of them."""
    matching = [path for path in files if _matches(folder, path, pattern)]
    if len(matching) > 1:
        what = f"{len(matching)} files of a folder fit the label."
        fix = f"{_SEVERAL_CASES}; else set 'label' in site.toml to a pattern that fits one."
        return DataError("LBL-SEVERAL", what, fix), tuple(matching)
    try:
        return make_source((matching[0],), "LBL-MISSING") if matching else missing_label_error(), ()
    except DataError as error:
        return error, tuple(matching)


def _matches(folder: Path, path: Path, pattern: str) -> bool:
    relative = path.relative_to(folder).as_posix()
    if any(sign in pattern for sign in "*?[/") or pattern.lower().endswith((*NIFTI_SUFFIXES, *IMAGE_SUFFIXES)):
        return fnmatchcase(relative.lower(), pattern.lower())
    words = re.split(r"[_\-. ]+", path.name.lower())
    return any(word in words for word in _DEFAULT_WORDS.get(pattern, (pattern.lower(),)))


def _pick_series(objects: DicomObjects, site: Site, study: Study) -> tuple[Source | DataError, Source | DataError]:
    labels = match_labels(objects, site.data)
    labelled = [uid for uid in sorted(objects.series) if not is_unlabelled(labels[uid])]
    chosen = labelled or sorted(objects.series)
    if not chosen and objects.not_meant:
        return other_images_error(), missing_label_error()
    if not chosen:
        what = f"the folder holds no {study.task.modality} image, which the study asks for."
        if objects.other_images:
            what = f"{what[:-1]}, but {len(objects.other_images)} other DICOM files."
        return DataError("IMG-MISSING", what, "Add the image, or move the folder away."), missing_label_error()
    if len(chosen) > 1:
        what = f"the folder holds {len(chosen)} series."
        fix = "Keep the series that is meant, or name it in the column 'series_uid' of an index."
        return DataError("DCM-SERIES", what, fix), labels[chosen[0]]
    return objects.series_error(chosen[0]) or Source.of_files(objects.series[chosen[0]]), labels[chosen[0]]
