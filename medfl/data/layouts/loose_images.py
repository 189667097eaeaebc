"""Images that lie in a folder without any layout: each file is a case of its own, to be predicted and nothing else."""

from __future__ import annotations

from pathlib import Path

from medfl.data.findings import Finding
from medfl.data.index.walk import SkippedFolders
from medfl.data.layouts.entries import Entry, Listing, missing_label_error
from medfl.data.layouts.mask_folders import names_masks
from medfl.data.layouts.own_predictions import prediction_folder_warnings
from medfl.data.layouts.sources import is_image_file, make_source, visible_files
from medfl.errors import DataError
from medfl.system.text import plural


def list_loose_images(root: Path, only: Path | None = None) -> Listing:
    """List each NIfTI or picture file below a folder as one case, one image as one patient.

    What is called like a mask, or lies in a folder that is, is passed over: it belongs to an image, and nobody says to which.

    Parameters
    ----------
    root : Path
        The folder.
    only : Path, optional
        The one file that is meant.
    """
    skipped = SkippedFolders(root)
    paths = [only] if only else sorted(path for path in visible_files(root, skipped) if is_image_file(path.name))
    images = [path for path in paths if only or not _is_called_mask(path.relative_to(root))]
    warnings = prediction_folder_warnings(skipped.predictions)
    if passed := len(paths) - len(images):
        what = f"{plural(passed, 'file')} called like masks are passed over."
        fix = "To have predictions scored, list images and masks in an index.csv with the columns image, label and patient."
        warnings.append(Finding.warning("LBL-UNUSED", what, fix))
    return Listing(tuple(_entry(path, root) for path in images), patient_ids=False, warnings=tuple(warnings))


def _is_called_mask(path: Path) -> bool:
    return names_masks(path.name.partition(".")[0]) or any(map(names_masks, path.parent.parts))


def _entry(path: Path, root: Path) -> Entry:
    key = path.relative_to(root).as_posix()
    try:
        return Entry(key, key, make_source((path,)), missing_label_error(), image_files=(path,))
    except DataError as error:
        return Entry(key, key, error, missing_label_error(), image_files=(path,))
