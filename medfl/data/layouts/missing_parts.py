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
_Key = tuple[tuple[int, int, str], ...]
_DIGITS_JOINED = re.compile(r"#([._-]#)+")


class _Names:
    """Names that lie together, each with the series of an image.

    Parameters
    ----------
    named : iterable of (str, str)
        Names in small letters, and series.
    """

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        self.names: set[str] = set()
        self.series: set[str] = set()
        self._by_shape: dict[str, list[tuple[_Key, str]]] = defaultdict(list)
        for name, series in named:
            self.names.add(name)
            self.series.add(series)
            self._by_shape[name_shape(name)].append((_natural_key(name), series))
        for alike in self._by_shape.values():
            alike.sort()

    def may_hold(self, name: str) -> bool:
        """Return whether a name is that of a DICOM file, or formed like those that are here."""
        return name.endswith(_DICOM_SUFFIXES) or name_shape(name) in self._by_shape

    def choose(self, name: str, *, dicom: bool) -> set[str]:
        """Return the series of the names next to a name, where names follow the series; else every one it may belong to."""
        alike = self._by_shape.get(name_shape(name), [])
        if len(self.series) == 1 or not alike:
            return self.series if dicom or len(self.series) == 1 else set()
        every = {series for _, series in alike}
        if 1 + sum(one[1] != other[1] for one, other in pairwise(alike)) > len(every):
            return every
        place = bisect_left(alike, (_natural_key(name), ""))
        return {series for _, series in alike[max(0, place - 1) : place + 1]}


class ImagePlaces:
    """Where the readable images of a folder lie, to tell what a file was that cannot be read.

    Parameters
    ----------
    images : iterable of (IndexedFile, str)
        Readable images of every modality, with the key of their series.
    """

    def __init__(self, images: Iterable[tuple[IndexedFile, str]]) -> None:
        by_folder: dict[str, list[tuple[str, str]]] = defaultdict(list)
        folders: dict[str, set[str]] = defaultdict(set)
        for item, series in images:
            folder, name = os.path.split(item.path_text)
            by_folder[folder].append((name.lower(), series))
            folders[series].add(folder)
        self._by_folder = by_folder
        self._spread: dict[str, list[tuple[str, str]]] = defaultdict(list)  # folders of series that several folders hold
        for series, places in folders.items():
            for place in places if len(places) > 1 else ():
                self._spread[os.path.dirname(place)].append((place, series))
        self._names: dict[str, _Names] = {}  # of images in a folder
        self._near: dict[str, tuple[_Names, _Names]] = {}  # of folders in one that a series spreads over, and of their images

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
        meant = _strip_appended(name)
        beside = self._names_in(folder)
        if meant != name and meant in beside.names:
            return set()  # a copy of a file that is there
        if beside.names:
            return beside.choose(meant, dicom=dicom) if dicom or beside.may_hold(meant) else set()
        near, images = self._names_near(os.path.dirname(folder))
        if not images.names or not (dicom or images.may_hold(meant)):
            return set()
        return near.choose(os.path.basename(folder).lower(), dicom=dicom)

    def _names_in(self, folder: str) -> _Names:
        if folder not in self._names:
            self._names[folder] = _Names(self._by_folder.get(folder, ()))
        return self._names[folder]

    def _names_near(self, above: str) -> tuple[_Names, _Names]:
        if above not in self._near:
            spread = self._spread.get(above, ())
            images = (named for place in {place for place, _ in spread} for named in self._by_folder[place])
            self._near[above] = _Names((os.path.basename(place).lower(), series) for place, series in spread), _Names(images)
        return self._near[above]


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
    return "#" if _HEXADECIMAL(part) else re.sub(r"\d+", "#", part)


def _strip_appended(name: str) -> str:
    while (shorter := next((name.removesuffix(end) for end in _APPENDED if name.endswith(end)), name)) != name and shorter:
        name = shorter
    return name


def _natural_key(name: str) -> _Key:
    """Return what sorts names as people number them: ``2`` before ``10``."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name))
