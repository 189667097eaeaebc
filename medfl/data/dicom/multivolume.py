"""Errors for series of several volumes, which differ in an attribute such as echo time, b-value or temporal position."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.headers import Header
from medfl.data.dicom.keywords import TIME_KEYWORDS, UNSHOWN_KEYWORDS, VOLUME_KEYWORDS
from medfl.data.dicom.partitions import group_by_value, volume_groups
from medfl.data.dicom.slice_stack import SAME_POSITION_MM, is_uniform
from medfl.data.dicom.value_texts import format_number, format_numbers, parse_number
from medfl.errors import DataError

# Others may differ within a volume: trigger times, and acquisition numbers of interleaved packages.
_NUMERIC_KEYWORDS = (
    *("EchoTime", "EchoNumbers", "DiffusionBValue", "InversionTime", "FlipAngle", "KVP"),
    *("NominalPercentageOfCardiacPhase", "NominalPercentageOfRespiratoryPhase"),
)
_TEXT_KEYWORDS = ("TemporalPositionIdentifier", "ConvolutionKernel", "ComplexImageComponent", "SeriesNumber")
_VALUE_TOLERANCE = 0.05
_COMPLEX_PARTS = {"M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY"}  # of a complex image, in ImageType
# of Dixon images, in ImageType: two of them are not parts of one volume, wherever they lie
_DIXON_PARTS = {"W": "W", "WATER": "W", "F": "F", "FAT": "F", "IP": "IP", "IN_PHASE": "IP", "OP": "OP", "OUT_PHASE": "OP"}
_DIXON_PARTS |= {"OPP_PHASE": "OP", "FF": "FF", "FAT_FRACTION": "FF", "FAT_FRAC": "FF"}
_SELECT_COLUMN = "column 'select' of the index"
MIN_SUBSTACK = 3  # fewer slices are at a uniform spacing by chance


def multivolume_error(headers: Sequence[Header], along: NDArray[np.float64], pixel_spacing: float) -> DataError:
    """Return the error for several images at one position.

    Parameters
    ----------
    headers : sequence of Header
        The images, sorted by position.
    along : ndarray
        Their positions along the slice normal, mm.
    pixel_spacing : float
        The smaller pixel spacing, mm.

    Returns
    -------
    DataError
        ``DCM-MULTIVOLUME`` when attributes separate whole volumes, ``DCM-DUP-POSITION`` when none does.
    """
    is_repeated = np.diff(along) < SAME_POSITION_MM
    n_positions = len(along) - int(is_repeated.sum())
    groups_by_keyword = {keyword: volume_groups(headers, keyword) for keyword in VOLUME_KEYWORDS}
    varying = {keyword: groups for keyword, groups in groups_by_keyword.items() if 1 < len(groups) < len(headers)}
    for keyword, groups in varying.items():
        if all(_is_volume(along[group], n_positions) for group in groups):
            return separable_error([keyword], headers, len(groups))
    for first, second in combinations(varying, 2):  # echo times of magnitude and phase need two
        both = _intersections(varying[first], varying[second])
        if all(_is_volume(along[group], n_positions) for group in both):
            return separable_error([first, second], headers, len(both))
    for keyword, groups in varying.items():  # of different length
        if all(is_substack(along[group], pixel_spacing) for group in groups):
            return separable_error([keyword], headers, len(groups))
    for keyword in varying:  # b0 once, b1000 in three directions: at least one of them is a volume
        by_value = group_by_value(headers, keyword)
        volumes = [value for value, group in by_value.items() if _is_volume(along[group], n_positions)]
        if volumes and all(volumes):
            return _partly_separable_error(keyword, volumes)
    first_position = float(along[int(np.argmax(is_repeated))])
    what = f"{int(is_repeated.sum())} slice position(s) occur more than once (first at {first_position:.2f} mm)"
    what = f"{what} and none of the attributes that medfl reads separates the copies."
    fix = "Two reconstructions or a resend are mixed; export the series again from the PACS."
    return DataError("DCM-DUP-POSITION", what, fix)


def check_one_contrast(headers: Sequence[Header]) -> None:
    """Check that slices at different positions do not alternate between contrasts, as interleaved echoes do.

    Raises
    ------
    DataError
        ``DCM-MULTIVOLUME``.
    """
    for keyword in (*_NUMERIC_KEYWORDS, *_TEXT_KEYWORDS, "ImageType"):
        texts = [header.text(keyword) for header in headers]
        if not _values_differ(keyword, texts):
            continue
        values = format_numbers(text for text in texts if text)
        what = (
            f"slices at different positions differ in {keyword}{f' ({values})' if values else ''}, so they are not one volume."
        )
        example = f", for example {keyword}={next(filter(None, texts))}" if values else f" by {keyword}=... or {keyword}=#1"
        raise DataError("DCM-MULTIVOLUME", what, f"Choose one in {_SELECT_COLUMN}{example}.")


def _values_differ(keyword: str, texts: Sequence[str]) -> bool:
    if keyword == "ImageType":
        types = {frozenset(text.upper().split("\\")) for text in texts}
        dixon = {frozenset(_DIXON_PARTS[part] for part in parts & set(_DIXON_PARTS)) for parts in types}
        return len({parts & _COMPLEX_PARTS for parts in types}) > 1 or len(dixon - {frozenset()}) > 1
    if keyword in _TEXT_KEYWORDS:
        return len(set(texts) - {""}) > 1
    values = [value for value in map(parse_number, texts) if value is not None]
    return bool(values) and max(values) - min(values) > _VALUE_TOLERANCE * max(map(abs, values))


def is_substack(along: NDArray[np.float64], pixel_spacing: float) -> bool:
    """Return whether slices, in order of position, are a regular stack of their own."""
    steps = np.diff(along)
    return len(along) >= MIN_SUBSTACK and bool((steps > SAME_POSITION_MM).all()) and is_uniform(along, pixel_spacing)


def _is_volume(along: NDArray[np.float64], n_positions: int) -> bool:
    return len(along) == n_positions and bool((np.diff(along) > SAME_POSITION_MM).all())


def _intersections(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> list[list[int]]:
    sets = [set(group) for group in other]
    return [sorted(common) for group in one for others in sets if (common := others.intersection(group))]


def separable_error(keywords: Sequence[str], headers: Sequence[Header], count: int) -> DataError:
    """Return the error for volumes that can be selected by the values of attributes; text from headers is never shown."""
    values = {keyword: list(group_by_value(headers, keyword)) for keyword in keywords}
    differing = " and ".join(f"{keyword}{_describe_values(keyword, values[keyword])}" for keyword in keywords)
    what = f"the series holds {count} volumes that differ in {differing}."
    examples = "; ".join(_selection_example(keyword, values[keyword]) for keyword in keywords)
    how = " (#1 is the first in order of time)" if set(keywords) & set(TIME_KEYWORDS) else ""
    fix = f"Choose one in {_SELECT_COLUMN}, for example {examples}{how}, or name several as channels."
    return DataError("DCM-MULTIVOLUME", what, fix)


def _shown(keyword: str, values: Sequence[str]) -> str:
    return "" if keyword in UNSHOWN_KEYWORDS else format_numbers(filter(None, values))


def _describe_values(keyword: str, values: Sequence[str]) -> str:
    shown = _shown(keyword, values)
    return f" ({shown}{'' if all(values) else ', or none'})" if shown else ""


def _selection_example(keyword: str, values: Sequence[str]) -> str:
    if _shown(keyword, values):
        return f"{keyword}={format_number(next(filter(None, values)))}"
    if keyword in UNSHOWN_KEYWORDS:
        return f"{keyword}=#1"
    return f"{keyword}=#1 or {keyword}=..."


def _partly_separable_error(keyword: str, volumes: Sequence[str]) -> DataError:
    what = (
        f"the series holds several volumes, of which {len(volumes)} can be selected by "
        f"{keyword}{_describe_values(keyword, volumes)} and the others by nothing."
    )
    fix = f"Choose one in {_SELECT_COLUMN}, for example {_selection_example(keyword, volumes)}."
    return DataError("DCM-MULTIVOLUME", what, fix)
