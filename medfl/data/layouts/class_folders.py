"""Folders of a data folder that are no patients, but probably classes, or images and masks: no layout reads them by itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.walk import is_hidden
from medfl.data.layouts.mask_folders import names_images, names_masks, split_stem
from medfl.data.layouts.shown_names import is_shown_folder, is_usual_name
from medfl.data.layouts.sources import NIFTI_SUFFIXES, is_image_file
from medfl.data.split_names import parse_split_name

_MAX_FOLDERS = 50  # more are patients, and so is one with a single image
_LEAST_SHARE = 0.5  # of the files of a folder that have one of the same name in another


def advise_on_class_folders(root: Path) -> str:
    """Return what to do about a data folder whose folders hold several images each and are no patients; else nothing.

    They are not taken for classes: who the patients are would be unknown, and a folder may be one. Folders whose files have
    equal names may be images and masks, and one that is called like masks is no class.
    """
    folders: dict[str, list[str]] = {}
    try:
        for entry in sorted(filter(_is_folder, os.scandir(root)), key=lambda entry: entry.name):
            if files := _list_images(entry.path):
                folders[entry.name] = files
            if len(files) == 1 or len(folders) > _MAX_FOLDERS:
                return ""
    except OSError:
        return ""
    if len(folders) < 2:
        return ""
    if any(map(names_masks, folders)):
        return _advise_on_masks(folders)
    if not all(map(is_shown_folder, folders)):  # others may as well be patients
        return ""
    if all(map(parse_split_name, folders)):
        return "If the folders are splits, write an index.csv with the columns image, label, patient and split."
    classes = (
        f"If the {len(folders)} folders are classes, write an index.csv with the columns image, label and patient, and in it a "
        "row for each image, with the name of its folder as its label."
    )
    first, second = [*folders][:2]
    if len(folders) == 2 and _are_alike(folders[first], folders[second]):
        image, mask = (second, first) if names_images(second) else (first, second)
        pairs = f"Files in {first!r} and {second!r} have equal names: if they are images and their masks, "
        pairs += _ask_for_ids(folders, image, mask)
        return pairs if names_images(image) else f"{pairs} {classes}"
    return classes


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and not is_hidden(entry.name)


def _list_images(folder: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if is_image_file(name) and not is_hidden(name))


def _advise_on_masks(folders: dict[str, list[str]]) -> str:
    masks, images = ([name for name in folders if names_masks(name) == wanted] for wanted in (True, False))
    if len(masks) == len(images) == 1:
        one = f"The folder {masks[0]!r}" if is_shown_folder(masks[0]) else "One of the two folders"
        return f"{one} is called like masks, not like a class: {_ask_for_ids(folders, images[0], masks[0])}"
    return (
        "Some folders are called like masks, not like classes: write an index.csv with the columns image, label and patient, "
        "and in it a row for each image, with the path of its mask as its label."
    )


def _ask_for_ids(folders: dict[str, list[str]], image: str, mask: str) -> str:
    """Return how an index names pairs of files; a folder or an ending that may be a person's is not named."""
    patterns = [_file_pattern(folders[name]) for name in (image, mask)]
    shown = all(map(is_shown_folder, (image, mask))) and all(map(_is_shown_pattern, patterns))
    if not shown or not _are_alike(folders[image], folders[mask]):
        return "write an index.csv with the columns image, label and patient, and the path of a mask as the label of its image."
    return (
        "write an index.csv with the columns id and patient, and in it a row for each pair, and set "
        f'image = "{image}/{patterns[0]}" and label = "{mask}/{patterns[1]}" in [data].'
    )


def _file_pattern(files: Sequence[str]) -> str:
    """Return how all files are called, as ``{id}_mask.png``; nothing where they differ in more than their ids."""
    patterns = set()
    for name in files:
        common = split_stem(name)[0]
        before, _, after = name.lower().partition(common)
        patterns.add(f"{name[: len(before)]}{{id}}{name[len(name) - len(after) :]}")
    return patterns.pop() if len(patterns) == 1 else ""


def _is_shown_pattern(pattern: str) -> bool:
    """Return whether files are called by their ids, a word for masks or images, and an ending that images have."""
    before, _, after = pattern.partition("{id}")
    word, dot, ending = after.partition(".")
    return f"{dot}{ending}".lower() in (*NIFTI_SUFFIXES, *IMAGE_SUFFIXES) and all(
        not part or is_usual_name(part) for part in (before, word)
    )


def _are_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether most files of the smaller of two folders are called like one of the other, but for a word for masks."""
    first, second = ({split_stem(name)[0] for name in files} for files in (one, other))
    return len(first & second) > _LEAST_SHARE * min(len(first), len(second))
