"""Missing parts: which series a file belonged to that cannot be read, by its place, its name and its neighbours."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from medfl.data.index.file_facts import ARCHIVE_SUFFIXES, IndexedFile

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", ".dc3", ".dic")
# what programs append to the name of a file that they compress, copy or have not received in full
_APPENDED = (
    *ARCHIVE_SUFFIXES,
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".download",
    ".filepart",
    ".bak",
    ".old",
    "~",
)
_HEXADECIMAL = re.compile(r"[0-9a-f]*").fullmatch
_LETTERS_THEN_DIGITS = re.compile(r"([a-z]+)\d+").fullmatch
_DIGITS_JOINED = re.compile(r"#([._-]#)+")

NamedSeries = tuple[str, str]  # name of a file or folder, and the SeriesInstanceUID of an image in it


class ImagePlaces:
    """Where the readable images of a folder lie, to tell what a file was that cannot be read.

    Parameters
    ----------
    images : iterable of (IndexedFile, str)
        Readable images of every modality, with the key of their series.
    """

    def __init__(self, images: Iterable[tuple[IndexedFile, str]]) -> None:
        self._by_folder: dict[str, list[NamedSeries]] = defaultdict(list)
        folders: dict[str, set[str]] = defaultdict(set)
        for item, series in images:
            folder, name = os.path.split(item.path_text)
            self._by_folder[folder].append((name.lower(), series))
            folders[series].add(folder)
        self._spread: dict[str, list[tuple[str, str]]] = defaultdict(list)  # folders of series that several folders hold
        for series, places in folders.items():
            for place in places if len(places) > 1 else ():
                self._spread[os.path.dirname(place)].append((place, series))

    def find_series(self, path: str, *, dicom: bool) -> set[str]:
        """Return the series of which a file that cannot be read may be a part.

        It may be one if its name is that of a DICOM file, or is formed like those beside it. Where several series lie together,
        the next names before and after it tell which one, if names follow the series at all; else it may be any of them.

        Parameters
        ----------
        path : str
            The file.
        dicom : bool
            Whether its content is known to be DICOM, whatever its name is.
        """
        folder, name = os.path.split(path)
        name = name.lower()
        beside = self._by_folder.get(folder, [])
        meant = _strip_appended(name)
        if meant != name and any(meant == other for other, _ in beside):
            return set()  # a copy of a file that is there
        if beside:
            return _choose(beside, meant, dicom=dicom) if dicom or _may_be_part(meant, beside) else set()
        above = os.path.dirname(folder)
        near = [(os.path.basename(place).lower(), series) for place, series in self._spread.get(above, ()) if place != folder]
        names = [other for place, _ in self._spread.get(above, ()) for other in self._by_folder[place]]
        if not names or not (dicom or _may_be_part(meant, names)):
            return set()
        return _choose(near, os.path.basename(folder).lower(), dicom=dicom)


def is_named_as_dicom(path: str) -> bool:
    """Return whether a name says that a file is DICOM, even compressed or not yet whole."""
    return _strip_appended(os.path.basename(path).lower()).endswith(_DICOM_SUFFIXES)


def name_shape(name: str) -> str:
    """Return how a name in small letters is formed, with ``#`` for numbers, however long, and for codes.

    Examples
    --------
    >>> name_shape("im0012.dcm"), name_shape("1.2.840.17"), name_shape("3f9a-00b1"), name_shape("readme.txt")
    ('im#', '#', '#', 'readme.txt')
    """
    stem = next((name.removesuffix(end) for end in _DICOM_SUFFIXES if name.endswith(end)), name)
    parts = re.split(r"([^0-9a-z]+)", stem)
    return _DIGITS_JOINED.sub("#", "".join(map(_part_shape, parts)))


def _part_shape(part: str) -> str:
    if not any(letter.isdigit() for letter in part):
        return part
    match = _LETTERS_THEN_DIGITS(part)
    return f"{match[1]}#" if match and not _HEXADECIMAL(match[1]) else "#"


def _may_be_part(name: str, beside: Iterable[NamedSeries]) -> bool:
    return name.endswith(_DICOM_SUFFIXES) or name_shape(name) in {name_shape(other) for other, _ in beside}


def _strip_appended(name: str) -> str:
    while (shorter := next((name.removesuffix(end) for end in _APPENDED if name.endswith(end)), name)) != name and shorter:
        name = shorter
    return name


def _choose(beside: list[NamedSeries], name: str, *, dicom: bool) -> set[str]:
    """Return the series of the names next to a name, where names follow the series; else every one it may belong to."""
    every = {series for _, series in beside}
    shape = name_shape(name)
    alike = sorted((_natural_key(other), series) for other, series in beside if name_shape(other) == shape)
    if len(every) == 1 or not alike:
        return every if dicom or len(every) == 1 else set()
    runs = 1 + sum(one[1] != next_[1] for one, next_ in pairwise(alike))
    if runs > len({series for _, series in alike}):
        return {series for _, series in alike}
    place = bisect_left([key for key, _ in alike], _natural_key(name))
    return {series for _, series in alike[max(0, place - 1) : place + 1]}


def _natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts names as people number them: ``2`` before ``10``."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name))
