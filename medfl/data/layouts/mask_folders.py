"""Mask folders: those that hold the masks of the images in another folder, and are no class of images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

_MASK_TEXT = """
    mask masks label labels labelmap labelmaps seg segs segmentation segmentations gt groundtruth annotation annotations
    maske masken masque masques segmentierung segmentierungen
"""
_IMAGE_TEXT = "image images img imgs picture pictures scan scans bild bilder xray xrays"
_MASK_WORDS, _IMAGE_WORDS = frozenset(_MASK_TEXT.split()), frozenset(_IMAGE_TEXT.split())
_PARTS = {"tr", "ts", "train", "training", "val", "valid", "validation", "test", "testing"}  # of a data set, as in imagesTr
_WORN = {"no", "non", "with", "without", "mit", "ohne", "avec", "sans"}  # somebody wears it: with_mask
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")


def names_masks(name: str) -> bool:
    """Return whether a folder, or a file without its ending, is called like masks.

    Examples
    --------
    >>> names_masks("labelsTr"), names_masks("Lung Masks"), names_masks("GT"), names_masks("benign"), names_masks("no_mask")
    (True, True, True, False, False)
    """
    words = [word for word in _split_words(name) if word not in _PARTS]
    return bool(words) and (words[-1] in _MASK_WORDS or words[-2:] == ["ground", "truth"]) and _WORN.isdisjoint(words)


def names_images(name: str) -> bool:
    """Return whether a folder is called like images, whatever they show.

    Examples
    --------
    >>> names_images("imagesTr"), names_images("Bilder"), names_images("benign")
    (True, True, False)
    """
    return not _IMAGE_WORDS.isdisjoint(_split_words(name))


def split_stem(name: str) -> tuple[str, str]:
    """Return the part of a file name that an image and its mask share, in small letters, and the word that says which it is.

    Examples
    --------
    >>> split_stem("007_mask.png"), split_stem("image-007.nii.gz"), split_stem("007.png")
    (('007', 'mask'), ('007', 'image'), ('007', ''))
    """
    stem = PurePosixPath(name).name.partition(".")[0].lower() or name.lower()
    for pattern in (r"(?P<id>.+)[ _-](?P<word>[^\W\d_]+)", r"(?P<word>[^\W\d_]+)[ _-](?P<id>.+)"):
        found = re.fullmatch(pattern, stem)
        if found and found["word"] in _MASK_WORDS | _IMAGE_WORDS:
            return found["id"], found["word"]
    return stem, ""


def find_masks_as_classes(images: Iterable[Sequence[str]], classes: Iterable[str]) -> set[str]:
    """Return the image files of an index with classes that are masks by all that names say.

    Those in a folder of masks whose name is the class, as the folder of a class would be; and those that are called like
    another file of the index with a word for a mask behind it, as ``007_mask.png`` beside ``007.png``.

    Parameters
    ----------
    images : iterable of sequence of str
        Files of each row, relative to the data folder.
    classes : iterable of str
        Class of each row.
    """
    found, pairs = set(), {}
    for names, label in zip(images, classes, strict=True):
        if len(names) > 1:
            continue  # channels, of which a mask may be one
        path = PurePosixPath(names[0].replace("\\", "/"))
        if path.parent.name and path.parent.name.casefold() == label.strip().casefold() and names_masks(label):
            found.add(names[0])
        pairs[names[0]] = (path.parent, *split_stem(path.name))
    plain = {(folder, stem) for folder, stem, word in pairs.values() if word not in _MASK_WORDS}
    return found | {path for path, (folder, stem, word) in pairs.items() if word in _MASK_WORDS and (folder, stem) in plain}


def _split_words(name: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(name)]
