"""Layout `folders`: one folder a patient, with image and mask files told by their names, or with DICOM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.images import SUFFIXES
from medfl.data.index.index import Index
from medfl.data.layouts.dicom import source_of_series
from medfl.data.layouts.drawing import is_unlabelled, labels_of
from medfl.data.layouts.entries import Entry, Listing, class_texts, lost_zeros, no_image, no_label
from medfl.data.layouts.objects import Found, sort_objects
from medfl.data.layouts.sources import NIFTI, source_of, visible_files
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study

_DEFAULTS = SiteData()
_WORDS = {  # what files are called when the site names no pattern
    _DEFAULTS.image: ("image", "img", "volume"),
    _DEFAULTS.label: ("label", "labels", "mask", "seg", "segmentation"),
}


def is_folders(root: Path) -> bool:
    """Return whether a folder holds folders and no image of its own."""
    files = [path for path in root.iterdir() if path.is_file() and path.name.lower().endswith((*NIFTI, *SUFFIXES))]
    return not files and any(_patients(root))


def list_folders(site: Site, study: Study, index: Index) -> Listing:
    """List one case for each folder; the name of the folder is the patient.

    The site's `image` and `label` are words that file names hold between ``_``, ``-`` and ``.``, or patterns such as
    ``"*/t1*.nii.gz"``; several images, one a channel, are joined by commas. In classification, the columns `patient` and
    `label` of the site's index give the classes.

    Raises
    ------
    DataError
        ``DCM-NONE`` when all files are DICOM without preamble; ``INDEX-*`` in classification.
    """
    masks = study.task.kind == "segmentation"
    texts = {} if masks else class_texts(site, site.root / site.data.index)
    files = {folder: [path for path in visible_files(folder) if _is_image(path)] for folder in _patients(site.root)}
    dicom = index.trees([folder for folder, images in files.items() if not images])
    found = {folder: sort_objects(items, study.task.modality, site.data) for folder, items in dicom.items()}
    if not any(files.values()):
        _summed(found.values()).require_images()
    entries, warnings = [], _summed(found.values()).warnings()
    for folder, images in files.items():
        if images:
            image: Source | DataError = _image(folder, images, site, masks)
            label: Source | DataError = _label(folder, images, site.data.label) if masks else no_label()
        else:
            image, label = _dicom(found[folder], site)
        entries.append(Entry(folder.name, folder.name, image, label if masks else texts.get(folder.name, "")))
    warnings += [] if masks else lost_zeros(texts, {folder.name for folder in files})
    return Listing(tuple(entries), patient_ids=True, warnings=tuple(warnings))


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith((*NIFTI, *SUFFIXES))


def _summed(parts: Iterable[Found]) -> Found:
    """Return what is to be told of all folders together."""
    total = Found()
    for part in parts:
        total.files += part.files
        total.headerless += part.headerless
        total.unreadable[""] += part.unreadable[""]
        total.missing[""] += part.missing[""]
        total.series |= part.series
        total.elsewhere |= part.elsewhere
    return total


def _patients(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def _image(folder: Path, files: Sequence[Path], site: Site, masks: bool) -> Source | DataError:
    chosen: list[Path] = []
    for pattern in [part.strip() for part in site.data.image.split(",")]:
        matching = [path for path in files if _matches(folder, path, pattern)]
        if not matching and len(files) == 1 and not masks:
            matching = list(files)
        if len(matching) > 1:
            what = f"{len(matching)} files of a folder fit the image."
            return DataError("IMG-SEVERAL", what, "Set 'image' in site.toml to a pattern that fits one.")
        if not matching:
            return no_image()
        chosen += matching
    try:
        return source_of(tuple(chosen))
    except DataError as error:
        return error


def _label(folder: Path, files: Sequence[Path], pattern: str) -> Source | DataError:
    matching = [path for path in files if _matches(folder, path, pattern)]
    if len(matching) > 1:
        what = f"{len(matching)} files of a folder fit the label."
        return DataError("LBL-SEVERAL", what, "Set 'label' in site.toml to a pattern that fits one.")
    try:
        return source_of((matching[0],), "LBL-MISSING") if matching else no_label()
    except DataError as error:
        return error


def _matches(folder: Path, path: Path, pattern: str) -> bool:
    relative = path.relative_to(folder).as_posix()
    if any(sign in pattern for sign in "*?[/") or pattern.lower().endswith((*NIFTI, *SUFFIXES)):
        return fnmatchcase(relative.lower(), pattern.lower())
    words = re.split(r"[_\-. ]+", path.name.lower())
    return any(word in words for word in _WORDS.get(pattern, (pattern.lower(),)))


def _dicom(found: Found, site: Site) -> tuple[Source | DataError, Source | DataError]:
    labels, _ = labels_of(found, site.data)
    drawn = [uid for uid in sorted(found.series) if not is_unlabelled(labels[uid])]
    chosen = drawn or sorted(found.series)
    if not chosen:
        return no_image(), no_label()
    if len(chosen) > 1:
        what = f"the folder holds {len(chosen)} series."
        fix = "Keep the series that is meant, or name it in the column 'series_uid' of an index."
        return DataError("DCM-SERIES", what, fix), labels[chosen[0]]
    return found.broken(chosen[0]) or source_of_series(found.series[chosen[0]]), labels[chosen[0]]
