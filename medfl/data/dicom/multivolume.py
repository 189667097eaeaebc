"""Errors for series of several volumes, which differ in an attribute such as echo time, b-value or temporal position."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.headers import VOLUME_KEYWORDS, Header
from medfl.data.dicom.select import format_number, format_numbers, parse_number
from medfl.data.dicom.slice_stack import SAME_POSITION_MM
from medfl.errors import DataError

# Others may differ within a volume: trigger times, and acquisition numbers of interleaved packages.
_NUMERIC_KEYWORDS = ("EchoTime", "DiffusionBValue", "InversionTime", "FlipAngle", "KVP")
_TEXT_KEYWORDS = ("TemporalPositionIdentifier", "ConvolutionKernel")
_VALUE_TOLERANCE = 0.05
_COMPLEX_PARTS = {"M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY"}  # of a complex image, in ImageType
_SELECT_COLUMN = "column 'select' of the index"
Key = tuple[str, ...]
Groups = dict[Key, list[int]]


def multivolume_error(headers: Sequence[Header], along: NDArray[np.float64]) -> DataError:
    """Return the error for several images at one position.

    Parameters
    ----------
    headers : sequence of Header
        The images, sorted by position.
    along : ndarray
        Their positions along the slice normal, mm.

    Returns
    -------
    DataError
        ``DCM-MULTIVOLUME`` when attributes separate whole volumes, ``DCM-DUP-POSITION`` when none does.
    """
    is_repeated = np.diff(along) < SAME_POSITION_MM
    n_positions = len(along) - int(is_repeated.sum())
    for count in (1, 2):  # echo times of magnitude and phase need two
        for keywords in combinations(VOLUME_KEYWORDS, count):
            groups = _group_by_values(headers, keywords)
            if len(groups) > 1 and all(_is_volume(along[indices], n_positions) for indices in groups.values()):
                return _separable_error(keywords, groups)
    for keyword in VOLUME_KEYWORDS:  # b0 once, b1000 in three directions: at least one of them is a volume
        groups = {
            key: indices
            for key, indices in _group_by_values(headers, (keyword,)).items()
            if _is_volume(along[indices], n_positions)
        }
        if groups and all(key[0] for key in groups):
            return _partly_separable_error(keyword, groups)
    first = float(along[int(np.argmax(is_repeated))])
    what = f"{int(is_repeated.sum())} slice position(s) occur more than once (first at {first:.2f} mm)"
    what = f"{what} and no attribute separates the copies."
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
        example = f", for example {keyword}={next(filter(None, texts))}" if values else f" by {keyword}=..."
        raise DataError("DCM-MULTIVOLUME", what, f"Choose one in {_SELECT_COLUMN}{example}.")


def _values_differ(keyword: str, texts: Sequence[str]) -> bool:
    if keyword == "ImageType":
        return len({frozenset(text.upper().split("\\")) & _COMPLEX_PARTS for text in texts}) > 1
    if keyword in _TEXT_KEYWORDS:
        return len(set(texts) - {""}) > 1
    values = [value for value in map(parse_number, texts) if value is not None]
    return bool(values) and max(values) - min(values) > _VALUE_TOLERANCE * max(map(abs, values))


def _group_by_values(headers: Sequence[Header], keywords: Sequence[str]) -> Groups:
    groups: Groups = {}
    spellings: dict[float, str] = {}
    for index, header in enumerate(headers):
        groups.setdefault(tuple(_canonical_number(header.text(keyword), spellings) for keyword in keywords), []).append(index)
    return groups


def _canonical_number(text: str, spellings: dict[float, str]) -> str:
    """Return one spelling for all texts of the same number: the first one seen."""
    value = parse_number(text)
    return text if value is None else spellings.setdefault(float(f"{value:.6g}"), format_number(text))


def _is_volume(along: NDArray[np.float64], n_positions: int) -> bool:
    return len(along) == n_positions and bool((np.diff(along) > SAME_POSITION_MM).all())


def _separable_error(keywords: Sequence[str], groups: Groups) -> DataError:
    lists = [format_numbers(key[column] for key in groups) for column in range(len(keywords))]
    differing = " and ".join(
        f"{keyword} ({values})" if values else keyword for keyword, values in zip(keywords, lists, strict=True)
    )
    what = f"the series holds {len(groups)} volumes that differ in {differing}."
    fix = f"Choose one in {_SELECT_COLUMN}{_selection_example(keywords, groups, lists)}, or name several as channels."
    return DataError("DCM-MULTIVOLUME", what, fix)


def _partly_separable_error(keyword: str, groups: Groups) -> DataError:
    values = format_numbers(key[0] for key in groups)
    differing = f"{keyword} ({values})" if values else keyword
    what = f"the series holds several volumes, of which {len(groups)} can be selected by {differing} and the others by nothing."
    fix = f"Choose one in {_SELECT_COLUMN}{_selection_example([keyword], groups, [values])}."
    return DataError("DCM-MULTIVOLUME", what, fix)


def _selection_example(keywords: Sequence[str], groups: Groups, lists: Sequence[str]) -> str:
    """Return a selection that would work; text from headers is never shown."""
    first = next(iter(groups))
    if all(lists):
        return ", for example " + "; ".join(f"{keyword}={value}" for keyword, value in zip(keywords, first, strict=True))
    return ", for example " + "; ".join(
        f"{keyword}={value if values else '...'}" for keyword, value, values in zip(keywords, first, lists, strict=True)
    )
