"""Layout `folders`: one folder a patient, with image and mask files told by their names, or with DICOM."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.dicom.headers import looks_like_dicom
from medfl.data.images import SUFFIXES
from medfl.data.layouts.dicom import label_of, scan
from medfl.data.layouts.entries import Entry, Listing, class_texts, no_image, no_label
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


def list_folders(site: Site, study: Study) -> Listing:
    """List one case for each folder; the name of the folder is the patient.

    The site's `image` and `label` are words that file names hold between ``_``, ``-`` and ``.``, or patterns such as
    ``"*/t1*.nii.gz"``; several images, one a channel, are joined by commas. In classification, the columns `patient` and
    `label` of the site's index give the classes.

    Raises
    ------
    DataError
        ``INDEX-*`` in classification.
    """
    masks = study.task.kind == "segmentation"
    texts = {} if masks else class_texts(site, site.root / site.data.index)
    entries = []
    for folder in _patients(site.root):
        files = [path for path in visible_files(folder) if path.name.lower().endswith((*NIFTI, *SUFFIXES))]
        if files:
            image: Source | DataError = _image(folder, files, site, masks)
            label: Source | DataError = _label(folder, files, site.data.label) if masks else no_label()
        else:
            image, label = _dicom(folder, study)
        entries.append(Entry(folder.name, folder.name, image, label if masks else texts.get(folder.name, "")))
    return Listing(tuple(entries), patient_ids=True)


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


def _dicom(folder: Path, study: Study) -> tuple[Source | DataError, Source | DataError]:
    found = scan((path for path in visible_files(folder) if looks_like_dicom(path)), study.task.modality)
    pairs = [(headers, label_of(headers, found.segmentations)) for _, headers in sorted(found.series.items())]
    drawn = [pair for pair in pairs if not (isinstance(pair[1], DataError) and pair[1].code == "LBL-MISSING")]
    chosen = drawn or pairs
    if not chosen:
        return no_image(), no_label()
    if len(chosen) > 1:
        what = f"the folder holds {len(chosen)} series."
        return DataError("DCM-SERIES", what, "Keep the series that is meant."), chosen[0][1]
    headers, label = chosen[0]
    return Source("dicom", tuple(header.path for header in headers)), label
