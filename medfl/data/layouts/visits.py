"""Visits: ids that are equal but for a word, date or number that tells examinations of one person apart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.layouts.sources import NIFTI_SUFFIXES
from medfl.data.patient_ids import join_issuer, split_issuer

_MAX_VISITS = 12  # of one person; more that are alike may be numbered people
_NEARLY_ALL = 0.9  # share of ids from which on their beginning names a study or a hospital
_SIGNS = r"[_\-. ()]"
_COUNTED_WORDS = (  # behind which a number counts visits
    *("visit", "visite", "visita", "session", "sess", "ses", "timepoint", "time-point", "time_point", "tp"),
    *("followup", "follow-up", "follow_up", "fup", "fu", "retest", "screening"),
)
_OTHER_WORDS = ("baseline", "bl", "first", "second", "third", "preop", "pre", "postop", "post", "left", "right")
_WORDS = (*_COUNTED_WORDS, *_OTHER_WORDS)
_COUNTED, _OTHER = ("|".join(map(re.escape, sorted(words, reverse=True))) for words in (_COUNTED_WORDS, _OTHER_WORDS))
_WORD = rf"(?:(?:{_COUNTED})(?:{_SIGNS}*(?:\d{{1,3}}|[a-e]|one|two|three))?|(?:{_OTHER})\d{{0,2}})"
_FIRST_WORD = rf"(?:(?:{_COUNTED})(?:{_SIGNS}?\d{{1,2}})?|(?:{_OTHER}))"
_LETTERS = (
    r"(?:(?:vis|v|t|scan|exam|month|week|year|day|mo|m|w|y|d)[_\-. ]?\d{1,4}|"
    r"\d{1,3}[_\-. ]?(?:months?|weeks?|days?|mo|m|w|y|d)|l|r)"
)
_DAY, _MONTH, _YEAR = "(?:0[1-9]|[12][0-9]|3[01])", "(?:0[1-9]|1[0-2])", "(?:19|20)[0-9][0-9]"
_DATE = rf"(?:{_YEAR}[_\-.]?{_MONTH}[_\-.]?{_DAY}(?:[_\-. t]?\d{{4,6}})?|{_DAY}[_\-.]{_MONTH}[_\-.]{_YEAR})"
_NAMED = re.compile(  # alone in a part of a path, before the rest of a name, or behind something
    rf"^{_FIRST_WORD}$|^{_FIRST_WORD}(?={_SIGNS}+\w)|(?:(?<=.){_SIGNS}+|(?<=\d)){_WORD}(?=$|{_SIGNS})",
    re.IGNORECASE,
)
_DATED = re.compile(
    rf"(?<=[^\W_]){_SIGNS}+{_DATE}(?=$|{_SIGNS})|(?<=\d){_SIGNS}+{_LETTERS}(?=$|{_SIGNS})|(?<=\d)[vt]\d{{1,2}}$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<=[^\W_])[_\-]\d{1,3}$")
_UID = re.compile(r"\d+(\.\d+){3,}")
_SUFFIXES = (*NIFTI_SUFFIXES, *IMAGE_SUFFIXES)


def group_visits(ids: Iterable[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Group ids that say themselves that they are visits, or sides, of one person; and those that may be.

    Parameters
    ----------
    ids : iterable of str
        Ids of one origin: patients of an index, names of folders or files, or PatientIDs.

    Returns
    -------
    certain : list of list of str
        Ids that are equal but for a word as ``visit2``, ``ses-2``, ``baseline`` or ``left``, or, where there are few, for a
        date or a letter with a number, as ``V2``.
    doubtful : list of list of str
        Ids that are equal but for a number, or for a date or letter where there are many: visits, or numbered people.

    Examples
    --------
    >>> group_visits(["P0_visit1", "P0_V2", "P1/ses-1/a.nii.gz", "P1/ses-2/a.nii.gz", "A1-000", "A1-001"])
    ([['P0_V2', 'P0_visit1'], ['P1/ses-1/a.nii.gz', 'P1/ses-2/a.nii.gz']], [['A1-000', 'A1-001']])
    """
    known = sorted(set(ids))
    certain, doubtful = [], []
    for group in _group(known, _strip_visit):
        if len(group) <= _MAX_VISITS:
            certain.append(group)
        else:
            doubtful.append(group)
            certain += [named for named in _group(group, _strip_words) if _has_digit(_strip_words(named[0]))]
    return certain, doubtful + _group_counted(known)


def names_visit(text: str) -> bool:
    """Return whether a text says nothing but which visit, side or day is meant; T1 and T2 may be sequences of MR.

    Examples
    --------
    >>> [names_visit(text) for text in ("visit1", "V2", "2024-05-17", "baseline", "T1", "1", "P001", "")]
    [True, True, True, True, False, False, False, False]
    """
    sequence = any(part.lower() in ("t1", "t2") for part in re.split(_SIGNS, text))
    return bool(text) and not sequence and _strip_visit(f"0_{text}") == "0"


def _group_counted(ids: Sequence[str]) -> list[list[str]]:
    """Return ids that are equal but for a number at the end, unless it may well count people."""
    groups = [group for group in _group(ids, _strip_count) if len(group) < _NEARLY_ALL * len(ids)]
    several = len(groups) > 2  # as images of several people; people are numbered once, or at each of a few hospitals
    return [group for group in groups if several or len(group) <= _MAX_VISITS]


def _group(ids: Iterable[str], strip: Callable[[str], str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for one in ids:
        groups[strip(one) or one].append(one)
    return [group for group in groups.values() if len(group) > 1]


def _strip_visit(patient: str) -> str:
    return _strip(patient, _strip_part)


def _strip_words(patient: str) -> str:
    return _strip(patient, _strip_words_of_part)


def _strip_count(patient: str) -> str:
    stem = _strip(patient, lambda part: _NUMBER.sub("", part))
    return stem if stem != patient and _has_digit(stem) else ""


def _has_digit(text: str) -> bool:
    return any(sign.isdigit() for sign in text)


def _strip(patient: str, strip_part: Callable[[str], str]) -> str:
    """Return an id without what `strip_part` takes from each part of its path, but with endings of files."""
    number, issuer = split_issuer(patient)
    stems, parts = "", []
    for part in number.split("/"):
        suffix = _find_suffix(part)
        stem = part.removesuffix(suffix)
        shorter = stem if _UID.fullmatch(stem) else strip_part(stem)
        shorter = stem if shorter == stem else shorter.strip("_-. ()")
        stems += shorter
        parts.append(f"{shorter}{suffix}")
    return join_issuer("/".join(filter(None, parts)), issuer) if stems else ""


def _find_suffix(name: str) -> str:
    """Return the ending of the name of an image file, empty for other names."""
    folded = name.lower()
    if not folded.endswith(_SUFFIXES):
        return ""
    return name[-len(next(suffix for suffix in _SUFFIXES if folded.endswith(suffix))) :]


def _strip_words_of_part(part: str) -> str:
    folded = part.lower()
    return _NAMED.sub("", part) if any(word in folded for word in _WORDS) else part


@lru_cache(maxsize=4096)
def _strip_part(part: str) -> str:
    while (shorter := _DATED.sub("", _strip_words_of_part(part))) != part:
        part = shorter
    return part
