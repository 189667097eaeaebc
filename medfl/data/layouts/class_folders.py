"""Folders that are probably classes: pictures sorted into one folder for each class, which no layout reads by itself."""

from __future__ import annotations

import os
from pathlib import Path

from medfl.data.index.walk import is_hidden
from medfl.data.layouts.shown_values import is_impersonal_value
from medfl.data.layouts.sources import is_image_file

_MAX_FOLDERS, _LEAST_IMAGES = 50, 2  # more folders are patients, and so is one with a single image


def advise_on_class_folders(root: Path) -> str:
    """Return what to do about a data folder whose folders hold several images each and are called like classes; else nothing.

    They are not taken for classes: who the patients are would be unknown, and a folder may be one.
    """
    try:
        folders = [entry for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False) and not is_hidden(entry.name)]
        if not 2 <= len(folders) <= _MAX_FOLDERS or not all(_may_be_class(entry.name) for entry in folders):
            return ""
        if min(sum(map(is_image_file, os.listdir(entry.path))) for entry in folders) < _LEAST_IMAGES:
            return ""
    except OSError:
        return ""
    return (
        f"If the {len(folders)} folders are classes, write an index.csv with the columns image, label and patient, and in it a "
        "row for each image, with the name of its folder as its label."
    )


def _may_be_class(name: str) -> bool:
    """Return whether a folder is called by plain words; one with digits may as well be a patient."""
    return is_impersonal_value(name) and not any(map(str.isdigit, name))
