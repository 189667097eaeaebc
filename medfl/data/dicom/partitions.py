"""Groups of images of a series that share the value of an attribute, in an order that a selection can count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby, pairwise

from medfl.data.dicom.headers import Header
from medfl.data.dicom.keywords import TIME_KEYWORDS
from medfl.data.dicom.value_texts import format_number, parse_number

Groups = dict[str, list[int]]  # indices of images by the value that they share, an empty one where it is missing

_TIME = re.compile(r"(\d{2})(\d{2})?(\d{2}(?:\.\d*)?)?")  # PS3.5 section 6.2: HHMMSS.FFFFFF, cut off anywhere
_LETTERS_AND_DIGITS = re.compile(r"([^0-9]*)([0-9]*)")
_DATE_LENGTH = 8
_DAY = 86400.0
_CLEAR_PAUSE = 3.0  # between volumes, in steps between the images of one
_MAX_STEP = 1.5  # within a volume, in steps between volumes


def group_by_value(headers: Sequence[Header], keyword: str) -> Groups:
    """Return the images by the value of an attribute: those without one first, then by number, time or letter."""
    groups: Groups = {}
    spellings: dict[float, str] = {}
    for index, header in enumerate(headers):
        text = header.text(keyword)
        groups.setdefault(text if keyword in TIME_KEYWORDS else _canonical_number(text, spellings), []).append(index)
    return dict(sorted(groups.items(), key=lambda item: _rank(keyword, item[0])))


def volume_groups(headers: Sequence[Header], keyword: str) -> list[list[int]]:
    """Return the groups that a selection such as ``AcquisitionTime=#2`` counts, each in the order of the images.

    They are those of `group_by_value`. Only times may differ within a volume, when each image or packet of images has its own:
    then a group ends where, in order of time, a slice position comes again. If pauses say otherwise, or one is not complete
    and no pause shows where it ends, the groups are those of single times: half of one volume and half of the next are none.
    """
    by_value = group_by_value(headers, keyword)
    groups = list(by_value.values())
    if keyword not in TIME_KEYWORDS:
        return groups
    known = [time for time in (time_rank(text) for text in by_value) if time is not None]
    if len(known) < len(groups):
        return groups
    start = _start_after_midnight(known)
    groups = groups[start:] + groups[:start]
    times = known[start:] + [time + _DAY for time in known[:start]]
    positions = [header.text("ImagePositionPatient") for header in headers]
    count = len(set(positions))
    if all(len(group) == count for group in groups):
        return groups
    starts = _repeat_starts(groups, positions)
    by_time = [[index for group in groups[first:last] for index in group] for first, last in pairwise([*starts, len(groups)])]
    if len(by_time) > 1 and _are_volumes(by_time, positions, times, starts):
        return [sorted(group) for group in by_time]
    return groups


def _start_after_midnight(times: Sequence[float]) -> int:
    """Return the first of ascending times of day: the one after a gap of more than half a day, if there is one."""
    if not times or times[-1] >= _DAY:  # with dates
        return 0
    return next((number for number, (one, other) in enumerate(pairwise(times), start=1) if other - one > _DAY / 2), 0)


def _repeat_starts(groups: Sequence[list[int]], positions: Sequence[str]) -> list[int]:
    """Return the groups before which, in order, a position comes again, and the first one."""
    starts = [0]
    seen: set[str] = set()
    for number, group in enumerate(groups):
        found = {positions[index] for index in group}
        if seen & found:
            starts.append(number)
            seen = set()
        seen |= found
    return starts


def _are_volumes(
    volumes: Sequence[Sequence[int]], positions: Sequence[str], times: Sequence[float], starts: Sequence[int]
) -> bool:
    """Return whether volumes that end where a position comes again are also what pauses say, or complete without any."""
    steps = [other - one for one, other in pairwise(times)]
    between = min(steps[start - 1] for start in starts[1:])
    within = max((step for number, step in enumerate(steps, start=1) if number not in starts), default=0.0)
    if between > _CLEAR_PAUSE * within:
        return True
    count = len(set(positions))
    is_complete = all(len(volume) == count == len({positions[index] for index in volume}) for volume in volumes)
    return is_complete and within <= _MAX_STEP * between and not any(_starts_midway(volume, positions) for volume in volumes)


def _starts_midway(volume: Sequence[int], positions: Sequence[str]) -> bool:
    """Return whether slices run up to one end and go on from the other, as the end of one volume and the start of the next."""
    ranks = {position: rank for rank, position in enumerate(sorted(set(positions), key=_coordinates))}
    steps = [ranks[positions[other]] - ranks[positions[one]] for one, other in pairwise(volume)]
    return any(steps.count(step) == len(steps) - 1 and steps.count(-step * len(steps)) == 1 for step in (1, -1))


def _coordinates(position: str) -> tuple[float, ...]:
    return tuple(parse_number(part) or 0.0 for part in position.split("\\"))


def are_woven(groups: Sequence[Sequence[int]]) -> bool:
    """Return whether groups of images in order of position lie within each other, not one after the other."""
    owner = {index: number for number, group in enumerate(groups) for index in group}
    blocks = [number for number, _ in groupby(owner[index] for index in sorted(owner))]
    return len(blocks) > len(groups)


def _canonical_number(text: str, spellings: dict[float, str]) -> str:
    """Return one spelling for all texts of the same number: the first one seen."""
    value = parse_number(text)
    return text if value is None else spellings.setdefault(float(f"{value:.6g}"), format_number(text))


def _rank(keyword: str, text: str) -> tuple[bool, float, list[tuple[str, int]], str]:
    number = time_rank(text) if keyword in TIME_KEYWORDS else parse_number(text)
    parts = [(letters, int(digits or 0)) for letters, digits in _LETTERS_AND_DIGITS.findall(text)]  # b50 before b1000
    return bool(text), number if number is not None else float("inf"), parts, text


def time_rank(text: str) -> float | None:
    """Return seconds of a time, or of a date with time; offsets from UTC are not looked at."""
    digits = text.replace(":", "").strip()
    day = 0
    if len(digits.split(".")[0].split("+")[0].split("-")[0]) > 6:  # a date first
        day, digits = _day_number(digits[:_DATE_LENGTH]), digits[_DATE_LENGTH:]
    parts = _TIME.match(digits)
    if not parts:
        return None
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return _DAY * day + 3600 * hours + 60 * minutes + seconds


def _day_number(date: str) -> int:
    try:
        return datetime.strptime(date, "%Y%m%d").toordinal()
    except ValueError:
        return 0
