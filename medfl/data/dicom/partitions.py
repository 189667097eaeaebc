"""Groups of images of a series that share the value of an attribute, in an order that a selection can count."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from medfl.data.dicom.headers import Header
from medfl.data.dicom.keywords import TIME_KEYWORDS
from medfl.data.dicom.value_texts import format_number, parse_number

Groups = dict[str, list[int]]  # indices of images by the value that they share, an empty one where it is missing

_TIME = re.compile(r"(\d{2})(\d{2})?(\d{2}(?:\.\d*)?)?")  # PS3.5 section 6.2: HHMMSS.FFFFFF, cut off anywhere
_DATE_LENGTH = 8


def group_by_value(headers: Sequence[Header], keyword: str) -> Groups:
    """Return the images by the value of an attribute: those without one first, then by number, time or letter."""
    groups: Groups = {}
    spellings: dict[float, str] = {}
    for index, header in enumerate(headers):
        text = header.text(keyword)
        groups.setdefault(text if keyword in TIME_KEYWORDS else _canonical_number(text, spellings), []).append(index)
    return dict(sorted(groups.items(), key=lambda item: _rank(keyword, item[0])))


def volume_groups(headers: Sequence[Header], keyword: str) -> list[list[int]]:
    """Return the groups that a selection such as ``AcquisitionTime=#2`` counts.

    They are those of `group_by_value`. Only times may differ within a volume, when each image or packet of images has its own:
    then a group ends where, in order of time, a slice position comes again.
    """
    groups = list(group_by_value(headers, keyword).values())
    if keyword not in TIME_KEYWORDS:
        return groups
    positions = [header.text("ImagePositionPatient") for header in headers]
    count = len(set(positions))
    if all(len(group) == count for group in groups):
        return groups
    by_time = _split_at_repeats(groups, positions)
    return by_time if len(by_time) > 1 else groups


def _split_at_repeats(groups: Sequence[list[int]], positions: Sequence[str]) -> list[list[int]]:
    volumes: list[list[int]] = [[]]
    seen: set[str] = set()
    for group in groups:
        if seen & {positions[index] for index in group}:
            volumes.append([])
            seen = set()
        volumes[-1] += group
        seen |= {positions[index] for index in group}
    return volumes


def are_woven(groups: Sequence[Sequence[int]]) -> bool:
    """Return whether groups of images in order of position lie within each other, not one after the other."""
    owner = {index: number for number, group in enumerate(groups) for index in group}
    blocks = [number for number, _ in groupby(owner[index] for index in sorted(owner))]
    return len(blocks) > len(groups)


def _canonical_number(text: str, spellings: dict[float, str]) -> str:
    """Return one spelling for all texts of the same number: the first one seen."""
    value = parse_number(text)
    return text if value is None else spellings.setdefault(float(f"{value:.6g}"), format_number(text))


def _rank(keyword: str, text: str) -> tuple[bool, float, str]:
    number = time_rank(text) if keyword in TIME_KEYWORDS else parse_number(text)
    return bool(text), number if number is not None else float("inf"), text


def time_rank(text: str) -> float | None:
    """Return seconds of a time, or of a date with time; offsets from UTC are not looked at."""
    digits = text.replace(":", "").strip()
    day = 0
    if len(digits.split(".")[0].split("+")[0].split("-")[0]) > 6:  # a date first
        day, digits = int(digits[:_DATE_LENGTH]) if digits[:_DATE_LENGTH].isdigit() else 0, digits[_DATE_LENGTH:]
    parts = _TIME.match(digits)
    if not parts:
        return None
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return 86400.0 * day + 3600 * hours + 60 * minutes + seconds
