"""Visits: ids that are equal but for what tells examinations of one person apart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.layouts.sources import NIFTI_SUFFIXES
from medfl.data.patient_ids import join_issuer, split_issuer

_MAX_VISITS = 12  # of one person; more that are alike may be numbered people
_NEARLY_ALL = 0.9  # share of ids from which on their beginning names a study or a hospital
_FEW_KINDS = 4  # different words behind ids, as those of views, that may be found even where there are fewer people
_LONG_NUMBER = re.compile(r"\d{5}")  # no number of a hospital
_HOSPITAL = 3  # digits, below which a number is more likely a hospital's
_RARELY = 3  # images of a person on average; a hospital or a year has more
_MANY = 10  # short numbers in the beginnings of ids, which are those of more hospitals or years than one has
_MAX_PARTS = 3  # that may follow the id of a person
_SIGNS = r"[_\-. ()/]"
_COUNTED = r"(?:visit[ea]?|besuch|verlauf(?:skontrolle)?|suivi|session|sess|ses|time[\-_ ]?point|follow[\-_ ]?up)"
_NUMBER = r"(?:[dmvwy]?\d{1,8}|[a-e]|one|two|three)"
_VISIT = re.compile(  # the name of a part of a path, before the rest of a name, or behind something
    rf"^(?:ses-[a-z0-9]+|{_COUNTED}(?:[_\-. ]?{_NUMBER})?|baseline)(?={_SIGNS}+\w)"
    rf"|(?:(?<=.){_SIGNS}+|(?<=\d))(?:ses-[a-z0-9]+|{_COUNTED}(?:[_\-. ]*{_NUMBER})?|baseline\d{{0,2}})(?=$|{_SIGNS})",
    re.IGNORECASE,
)
_VISIT_NUMBER = re.compile(rf"(?<=\d){_SIGNS}*v(?:is)?[_\-]?(\d{{1,2}})(?!\.\d)(?=$|{_SIGNS})", re.IGNORECASE)
_DAY, _MONTH, _YEAR = "(?:0[1-9]|[12][0-9]|3[01])", "(?:0[1-9]|1[0-2])", "(?:19|20)[0-9][0-9]"
_DATE = (
    rf"(?:{_YEAR}[_\-.]?{_MONTH}[_\-.]?{_DAY}(?:[_\-. t]?\d{{4,6}})?|{_DAY}[_\-.]{_MONTH}[_\-.]{_YEAR}|{_DAY}{_MONTH}{_YEAR})"
)
_SIDE = "left|right|od|os|pre|post|preop|postop"
_TIME = r"(?:scan|exam|months?|weeks?|years?|days?|mo|wk|yr|[mwydt]p?|fu|bl)"
_T1 = rf"t[12](?:$|{_SIGNS})"  # a sequence of MR
_TIME_OR_SIDE = re.compile(
    rf"(?<=\w){_SIGNS}+(?:{_DATE}|{_SIDE}|[lr]|bl|(?!{_T1}){_TIME}[_\-. ]?\d{{1,4}}|\d{{1,3}}[_\-. ]?{_TIME})(?=$|{_SIGNS})",
    re.IGNORECASE,
)
_UID = r"\d+(?:\.\d+){3,}|[0-9a-f]{8}(?:-[0-9a-f]{4,12}){4}"
_PART = re.compile(rf"(?P<uid>{_UID})|(?P<date>{_DATE})(?![^\W_])|[^\W_]+", re.IGNORECASE)
_LETTER_BEHIND = re.compile(rf"([^\W\d_]*\d+)(?:[^\W\d_]|{_SIDE})", re.IGNORECASE)  # P12a, P12left
_INNER = re.compile(rf"(?:^|(?<={_SIGNS}))({_DATE}|{_SIDE}){_SIGNS}+(?=.)", re.IGNORECASE)
_PERSON = re.compile(r"p|pt|pat|patients?|sub|subj|subjects?|cases?|id|proband|volunteer|vol|control|ctrl|participant")
_PLACE = re.compile(r"(?:site|cent(?:er|re)|hosp(?:ital)?|batch|fold|part|set|study|images?)\d+")  # as the end of a stem
_NO_EXAM = re.compile(rf"(?!{_DATE}|{_UID})(?:[^\W\d_][_\-. ]?\d{{3,}}|\d+)(?![^\W_])")  # counts both
_CALENDAR = re.compile(rf"{_YEAR}(?:{_MONTH}{_DAY})?")
_DIGIT = re.compile(r"\d")
_SPREADSHEET = re.compile(r"(\d+)\.0+")  # what one makes of a number
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_SUFFIXES = (*NIFTI_SUFFIXES, *IMAGE_SUFFIXES)


def group_visits(ids: Iterable[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Group ids that say themselves that they are visits of one person; and those that may be parts of what one person has.

    Parameters
    ----------
    ids : iterable of str
        Ids of one origin: patients of an index, names of folders or files, or PatientIDs.

    Returns
    -------
    certain : list of list of str
        Ids that are equal but for a word as ``visit2``, ``ses-2`` or ``baseline``, or a ``V2`` behind a digit.
    doubtful : list of list of str
        Ids that have a beginning with a digit in common, and behind it a word, a date, a letter or a number: visits, sides,
        slices, or numbered people.

    Examples
    --------
    >>> group_visits(["P0_visit1", "P0_V2", "P1/ses-1/a.nii.gz", "P1/ses-2/a.nii.gz", "A1-000", "A1-001"])
    ([['P0_V2', 'P0_visit1'], ['P1/ses-1/a.nii.gz', 'P1/ses-2/a.nii.gz']], [['A1-000', 'A1-001']])
    """
    names = [_Name.of(one) for one in sorted(set(ids))]
    certain = _group_named(names)
    told = {frozenset(group) for group in certain}
    doubtful: list[list[str]] = []
    parts = [list(_PART.finditer(name.text)) for name in names]
    for ends in (_find_inner_ends(names), *(_find_last_ends(names, parts, count) for count in range(_MAX_PARTS + 1))):
        groups = [group for group in _group_doubtful(ends, len(names)) if frozenset(group) not in told]
        told |= set(map(frozenset, groups))
        doubtful += groups
    return certain, doubtful


def names_visit(text: str) -> bool:
    """Return whether a text says nothing but which visit, side or day is meant; T1 and T2 may be sequences of MR.

    Examples
    --------
    >>> [names_visit(text) for text in ("visit1", "V2", "2024-05-17", "baseline", "T1", "1", "P001", "")]
    [True, True, True, True, False, False, False, False]
    """
    return bool(text) and _strip(f"0_{text}", _VISIT, _VISIT_NUMBER, _TIME_OR_SIDE) == "0"


@dataclass(frozen=True)
class _Name:
    """An id, and what it says without the ending of a file and the issuer."""

    whole: str
    text: str
    rest: str

    @classmethod
    def of(cls, whole: str) -> _Name:
        number, issuer = split_issuer(whole)
        folded = number.lower()
        suffix = next((end for end in _SUFFIXES if folded.endswith(end)), "")
        text = number[: len(number) - len(suffix)]
        text = plain[1] if (plain := _SPREADSHEET.fullmatch(text)) else text
        return cls(whole, text, join_issuer(suffix or ".", issuer))


class _End(NamedTuple):
    """What tells an id apart from others that have all else, or a beginning, in common; in small letters."""

    name: _Name
    stem: str
    text: str


def _group_named(names: Sequence[_Name]) -> list[list[str]]:
    """Return ids that are equal but for a visit; a ``V`` with a number only if there are no more than people."""
    stems = {_strip(name.text, _VISIT, _VISIT_NUMBER) for name in names}
    numbers = {int(found[1]) for name in names for found in _VISIT_NUMBER.finditer(name.text)}
    patterns = (_VISIT, _VISIT_NUMBER) if len(numbers) <= len(stems) else (_VISIT,)
    groups: dict[tuple[str, str], list[_Name]] = defaultdict(list)
    for name in names:
        groups[_strip(name.text, *patterns) or name.text, name.rest].append(name)
    return [
        [name.whole for name in group]
        for (stem, _), group in groups.items()
        if len({name.text for name in group}) > 1 and (len(group) <= _MAX_VISITS or _has_digit(stem))
    ]


def _strip(text: str, *patterns: re.Pattern[str]) -> str:
    """Return a text without what patterns find in the parts of its path; one that is a UID is left as it is."""
    for pattern in patterns:
        if pattern.search(text) and not re.search(_UID, text):
            while (shorter := pattern.sub("", text).strip("_-. ()/")) != text:
                text = shorter
    return text


def _has_digit(text: str) -> bool:
    return _DIGIT.search(text) is not None


def _find_inner_ends(names: Iterable[_Name]) -> Iterator[_End]:
    """Yield what ids hold before their end, of dates and sides; behind a date, a short number counts what came on that day."""
    for name in names:
        found = [] if re.search(_UID, name.text) else [match[1] for match in _INNER.finditer(name.text)]
        stem = _INNER.sub("", name.text)
        dated = any(one[0].isdigit() for one in found)
        if found and not (dated and stem.isdigit() and not _LONG_NUMBER.search(stem)):
            yield _End(name, stem.casefold(), " ".join(found).casefold())
        else:
            yield _End(name, name.text.casefold(), "")


def _find_last_ends(names: Sequence[_Name], parts: Sequence[Sequence[re.Match[str]]], count: int) -> Iterator[_End]:
    """Yield the last parts of ids, for a count of 0 a letter behind a number; an id with too few may be the stem of others."""
    for name, theirs in zip(names, parts, strict=True):
        start = len(name.text)
        if not count and theirs and (letter := _LETTER_BEHIND.fullmatch(theirs[-1][0])):
            start = theirs[-1].start() + len(letter[1])
        elif 0 < count < len(theirs):
            start = theirs[-count].start()
        yield _End(name, name.text[:start].rstrip("_-. ()/").casefold(), name.text[start:].casefold())


def _group_doubtful(ends: Iterable[_End], count: int) -> list[list[str]]:
    """Return ids that share a stem with a digit, where what follows it may well be of one person."""
    groups: dict[tuple[str, str], list[_End]] = defaultdict(list)
    for one in ends:
        groups[one.stem, one.name.rest].append(one)
    shared = [_drop_people(group) for group in groups.values() if len(group) > 1 and _may_be_person(group[0].stem)]
    shared = [group for group in shared if len({one.text for one in group}) > 1]
    if not shared:
        return []
    counted = [group for group in shared if _counts(group)]
    worded = [group for group in shared if not _counts(group)]
    kinds = {re.sub(r"\d+", "", one.text) for group in worded for one in group}
    stems = [stem for stem, _ in groups if _has_digit(stem)]
    few = len(kinds) <= max(_FEW_KINDS, len(stems))
    found = [group for group in worded if (few or _is_long(group[0].stem)) and not _is_prefix_of_all(group, count)]
    found += _select_counted(counted, stems, count)
    return [[one.name.whole for one in group] for group in found]


def _may_be_person(stem: str) -> bool:
    return _has_digit(stem) and not _PLACE.fullmatch(_number_part(stem))


def _drop_people(group: Iterable[_End]) -> list[_End]:
    """Return ids but for those of which what follows, or what stands before it, says that it is a person."""

    def names_person(one: _End) -> bool:
        words = re.split(r"[\W_]+", one.stem)[-1], re.split(r"[\W\d_]", one.text)[0]
        return bool(one.text) and any(map(_PERSON.fullmatch, words))

    return [one for one in group if not names_person(one)]


def _counts(group: Iterable[_End]) -> bool:
    """Return whether what follows is a number, or a letter with a long one, and not always a year."""
    texts = [one.text for one in group if one.text]
    return any(map(_NO_EXAM.match, texts)) and not all(_CALENDAR.fullmatch(text) for text in texts)


def _is_prefix_of_all(group: Sequence[_End], count: int) -> bool:
    """Return whether nearly all ids begin so, as with the name of a study; a few with words behind it may still be a person."""
    if len(group) < _NEARLY_ALL * count:
        return False
    return _counts(group) or len(group) > _MAX_VISITS or any(re.match(r"[^\W\d_]\d", one.text) for one in group)


def _number_part(stem: str) -> str:
    """Return the last part of a stem that holds a digit."""
    return [part for part in re.split(r"[\W_]+", stem) if _has_digit(part)][-1]


def _is_long(stem: str) -> bool:
    part = _number_part(stem)
    return bool(_LONG_NUMBER.search(part)) and not _CALENDAR.fullmatch(part)


def _select_counted(groups: Sequence[list[_End]], stems: Sequence[str], count: int) -> list[list[_End]]:
    """Return groups with numbers behind their stems, unless those may well be hospitals or years, and the numbers people.

    Hospitals and years are short numbers. They are few, each with many people, and most numbers are of one hospital only.
    """
    groups = [group for group in groups if not _is_prefix_of_all(group, count)]
    ends = len({_ZEROS.sub("", one.text) for group in groups for one in group})
    years = all(_CALENDAR.fullmatch(_number_part(stem)) for stem in stems)
    rarely = len(stems) >= _MANY and count <= _RARELY * len(stems)

    def may_be_person(group: Sequence[_End]) -> bool:
        stem = group[0].stem
        part = _number_part(stem)
        if _is_long(stem) or not part.isdigit():
            return _is_long(stem) or len(groups) > 2 or len(group) <= _MAX_VISITS
        longer = len(part) > max(sum(map(str.isdigit, one.text)) for one in group)
        by_number = rarely and len(part) >= _HOSPITAL and stem.endswith(part)
        recurring = len(stems) >= max(ends, 3) or (longer and len(stems) >= min(ends, _MANY))
        return not years and (recurring or by_number)

    return list(filter(may_be_person, groups))
