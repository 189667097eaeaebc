"""Missing parts: which series a file belonged to that cannot be read, by its place, its name and its neighbours."""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from medfl.data.index.file_facts import ARCHIVE_SUFFIXES, NON_DICOM_SUFFIXES, IndexedFile
from medfl.data.index.unfinished import finished_name

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
_CONTAINERS = re.compile(r"\.(zip|tar|tgz|tbz|txz|7z|rar)(\.|$)")  # archives of several files
_COPY = re.compile(  # x (1).dcm, x - Copy.dcm, x copy 2.dcm
    r"(.+?)(?: ?\(\d+\)| \(copy\)| - (?:copy|kopie|copie)(?: ?\(\d+\))?| copy(?: \d+)?)(\.[a-z0-9]+)?"
)
_FURTHER_SUFFIX = re.compile(rf"(.+(?:{'|'.join(map(re.escape, _DICOM_SUFFIXES))}))\.[^.]+")  # 5-1.dcm.txt, 5-1.dcm.failed
_OTHER_CONTENTS = {*NON_DICOM_SUFFIXES, ".log", ".ini", ".db"} - {".txt", ".html"}  # what a slice is not called by mistake
_MAX_SIBLINGS = 50  # folders beside that of a file, of more of which it could be a part of any
_HEXADECIMAL = re.compile(r"[0-9a-f]*").fullmatch
_DIGITS_JOINED = re.compile(r"#([._-]#)+")

_Key = tuple[tuple[int, int, str], ...]


class _Names:
    """Names that lie together, each with the series of an image.

    Parameters
    ----------
    named : iterable of (str, str)
        Names in small letters, and series.
    """

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        self.names: set[str] = set()
        self._stems: set[str] = set()
        self.series: set[str] = set()
        self._by_shape: dict[str, list[tuple[_Key, str]]] = defaultdict(list)
        for name, series in named:
            self.names.add(name)
            self.series.add(series)
            self._stems.add(_strip_dicom(name))
            self._by_shape[name_shape(name)].append((_natural_key(_strip_dicom(name)), series))
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
        place = bisect_left(alike, (_natural_key(_strip_dicom(name)), ""))
        return {series for _, series in alike[max(0, place - 1) : place + 1]}

    def is_copy(self, name: str) -> bool:
        """Return whether a name is that of a copy of a file that is here, and no number in a series of such names."""
        original = _copied_name(name)
        return original in self.names and all(_copied_name(other) != original for other in self.names)

    def is_like(self, name: str) -> bool:
        """Return whether a name is formed like one of these, and none of these."""
        return name_shape(name) in self._by_shape and _strip_dicom(name) not in self._stems

    def find_numbered(self, name: str) -> tuple[set[str], bool]:
        """Return the series in whose numbering a name is the next or a missing one, and whether it stands between two."""
        if not self.is_like(name):
            return set(), False
        alike, key = self._by_shape[name_shape(name)], _natural_key(_strip_dicom(name))
        place = bisect_left(alike, (key, ""))
        before, after = (
            {series for other, series in part if 0 < _count_between(key, other) <= len(alike)}
            for part in (alike[max(0, place - 1) : place], alike[place : place + 1])
        )
        return before | after, bool(before & after)


class ImagePlaces:
    """Where the readable images of a folder lie, to tell what a file was that cannot be read.

    Parameters
    ----------
    images : iterable of (IndexedFile, str)
        Readable images of every modality, with the key of their series.
    unread : iterable of str
        Files that cannot be read.
    """

    def __init__(self, images: Iterable[tuple[IndexedFile, str]], unread: Iterable[str] = ()) -> None:
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
        self._below: dict[str, list[str]] = defaultdict(list)  # folders with images in a folder
        for folder in by_folder:
            self._below[os.path.dirname(folder)].append(folder)
        self._unread: dict[str, set[str]] = defaultdict(set)  # names of what cannot be read in a folder
        for path in unread:
            folder, name = os.path.split(path)
            self._unread[folder].add(_meant_name(name))
        self._siblings: dict[str, list[_Names]] = {}
        self._names: dict[str, _Names] = {}  # of images in a folder
        self._near: dict[str, tuple[_Names, _Names]] = {}  # of folders in one that a series spreads over, and of their images

    def find_series(self, path: str, *, dicom: bool) -> set[str]:
        """Return the series of which a file that cannot be read may be a part.

        It may be one if its name is that of a DICOM file, or is formed like those beside it, or in the folder above, or stands
        between two of a folder beside its own or in it. Where several series lie together, the next names before and after it
        tell which one, if names follow the series at all; else it may be any of them.

        Parameters
        ----------
        path : str
            The file.
        dicom : bool
            Whether its content is known to be DICOM, whatever its name is.
        """
        folder, name = os.path.split(path)
        meant = _meant_name(name)
        beside = self._names_in(folder)
        if (meant != name.lower() and meant in beside.names) or beside.is_copy(meant):
            return set()  # a copy of a file that is there
        if not dicom and _CONTAINERS.search(finished_name(name).lower(), len(meant)) and not meant.endswith(_DICOM_SUFFIXES):
            return set()  # an archive of a whole export
        if beside.names:
            if dicom or beside.may_hold(meant):
                return beside.choose(meant, dicom=dicom)
            stem, suffix = os.path.splitext(meant)
            return set() if suffix in _OTHER_CONTENTS else beside.find_numbered(stem)[0]
        near, images = self._names_near(os.path.dirname(folder))
        if images.names and (dicom or images.may_hold(meant)):
            return near.choose(os.path.basename(folder).lower(), dicom=dicom)
        return self._find_elsewhere(folder, meant)[0]

    def may_follow(self, path: str) -> bool:
        """Return whether a file that is a part of no series could still go on with one of a folder beside its own or in it."""
        folder, name = os.path.split(path)
        return not self.has_images_beside(path) and self._find_elsewhere(folder, _meant_name(name))[1]

    def has_images_beside(self, path: str) -> bool:
        """Return whether images lie in the folder of a file."""
        return bool(self._names_in(os.path.dirname(path)).names)

    def is_called_slice(self, path: str) -> bool:
        """Return whether the name of a file is that of DICOM, or formed like those of the images in its folder."""
        folder, name = os.path.split(path)
        return self._names_in(folder).may_hold(_meant_name(name))

    def _find_elsewhere(self, folder: str, name: str) -> tuple[set[str], bool]:
        """Return the series of the folder above, or of folders beside or in one without images, of which a file may be a part.

        Not where another file of the folder is called like one of them: then the folder holds a series of its own, or copies.
        A number behind those of a series beside may as well belong to a series of its own; whether it is one comes second.
        """
        above = self._names_in(os.path.dirname(folder))
        if above.names:
            fits = above.is_like(name) and not above.names & self._unread[folder]
            return (above.choose(name, dicom=False) if fits else set()), False
        if folder not in self._siblings:
            beside = [*self._below.get(os.path.dirname(folder), ()), *self._below.get(folder, ())]
            names = map(self._names_in, beside if len(beside) <= _MAX_SIBLINGS else ())
            self._siblings[folder] = [one for one in names if not one.names & self._unread[folder]]
        fitting = [one.find_numbered(name) for one in self._siblings[folder]]
        between = set().union(*(series for series, is_between in fitting if is_between))
        return between, not between and any(series for series, _ in fitting)

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
    parts = re.split(r"([^0-9a-z]+)", _strip_dicom(name))
    return _DIGITS_JOINED.sub("#", "".join(map(_part_shape, parts)))


def _part_shape(part: str) -> str:
    if not any(letter.isdigit() for letter in part):
        return part
    return "#" if _HEXADECIMAL(part) else re.sub(r"\d+", "#", part)


def _meant_name(name: str) -> str:
    """Return what a file is called, in small letters, without what programs that copy or compress it make of its name."""
    meant = _strip_appended(finished_name(name).lower())
    further = _FURTHER_SUFFIX.fullmatch(meant)
    return further[1] if further else meant


def _copied_name(name: str) -> str:
    """Return what the original of a copy is called; an empty text for a name that is none of a copy."""
    found = _COPY.fullmatch(name)
    return found[1] + (found[2] or "") if found else ""


def _strip_dicom(name: str) -> str:
    return next((name.removesuffix(end) for end in _DICOM_SUFFIXES if name.endswith(end)), name)


def _strip_appended(name: str) -> str:
    while (shorter := next((name.removesuffix(end) for end in _APPENDED if name.endswith(end)), name)) != name and shorter:
        name = shorter
    return name


def _natural_key(name: str) -> _Key:
    """Return what sorts names as people number them: ``2`` before ``10``."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name))


def _count_between(one: _Key, other: _Key) -> float:
    """Return by how much two names differ that differ in one number; infinity for others."""
    if len(one) != len(other):
        return math.inf
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    return abs(pairs[0][0][1] - pairs[0][1][1]) if len(pairs) == 1 and pairs[0][0][0] == pairs[0][1][0] == 0 else math.inf
