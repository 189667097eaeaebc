"""What tells volumes apart that share one place: the time of an echo, a b-value, a moment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.geometry import SAME_PLACE_MM
from medfl.data.dicom.headers import SPLITTERS, Header
from medfl.data.dicom.select import listing, number, written
from medfl.errors import DataError

# Others may differ within a volume: the time of a trigger, and the acquisition of packages that are taken interleaved.
_AMOUNTS = ("EchoTime", "DiffusionBValue", "InversionTime", "FlipAngle", "KVP")
_NAMES = ("TemporalPositionIdentifier", "ConvolutionKernel")
_JITTER = 0.05
_PARTS = {"M", "P", "R", "I", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY"}  # of a complex image, in ImageType
_COLUMN = "column 'select' of the index"
Key = tuple[str, ...]
Groups = dict[Key, list[int]]


def several_volumes(headers: Sequence[Header], along: NDArray[np.float64]) -> DataError:
    """Say why several images lie at one place.

    Parameters
    ----------
    headers : sequence of Header
        The images, sorted by place.
    along : ndarray
        Their places along the slice normal, mm.

    Returns
    -------
    DataError
        ``DCM-MULTIVOLUME`` when header values tell whole volumes apart, ``DCM-DUP-POSITION`` when nothing does.
    """
    closer = np.diff(along) < SAME_PLACE_MM
    places = len(along) - int(closer.sum())
    for count in (1, 2):  # echo times of magnitude and phase need two
        for keywords in combinations(SPLITTERS, count):
            groups = _groups(headers, keywords)
            if len(groups) > 1 and all(_is_volume(along[own], places) for own in groups.values()):
                return _multivolume(keywords, groups)
    for keyword in SPLITTERS:  # b0 once, b1000 in three directions: at least one of them is a volume
        groups = {key: own for key, own in _groups(headers, (keyword,)).items() if _is_volume(along[own], places)}
        if groups and all(key[0] for key in groups):
            return _partly(keyword, groups)
    first = float(along[int(np.argmax(closer))])
    what = f"{int(closer.sum())} slice position(s) occur more than once (first at {first:.2f} mm)"
    what = f"{what} and no header value tells the copies apart."
    fix = "Two reconstructions or a resend are mixed; export the series again from the PACS."
    return DataError("DCM-DUP-POSITION", what, fix)


def check_one_contrast(headers: Sequence[Header]) -> None:
    """Check that slices at different places do not alternate between contrasts, as echoes that were taken interleaved do.

    Raises
    ------
    DataError
        ``DCM-MULTIVOLUME``.
    """
    for keyword in (*_AMOUNTS, *_NAMES, "ImageType"):
        texts = [header.text(keyword) for header in headers]
        if not _differ(keyword, texts):
            continue
        values = listing(text for text in texts if text)
        what = f"slices at different places differ in {keyword}{f' ({values})' if values else ''}, so they are no one volume."
        example = f", for example {keyword}={next(filter(None, texts))}" if values else f" by {keyword}=..."
        raise DataError("DCM-MULTIVOLUME", what, f"Choose one in {_COLUMN}{example}.")


def _differ(keyword: str, texts: Sequence[str]) -> bool:
    if keyword == "ImageType":
        return len({frozenset(text.upper().split("\\")) & _PARTS for text in texts}) > 1
    if keyword in _NAMES:
        return len(set(texts) - {""}) > 1
    values = [value for value in map(number, texts) if value is not None]
    return bool(values) and max(values) - min(values) > _JITTER * max(map(abs, values))


def _groups(headers: Sequence[Header], keywords: Sequence[str]) -> Groups:
    groups: Groups = {}
    spelled: dict[float, str] = {}
    for place, header in enumerate(headers):
        groups.setdefault(tuple(_spelling(header.text(keyword), spelled) for keyword in keywords), []).append(place)
    return groups


def _spelling(text: str, spelled: dict[float, str]) -> str:
    """Return one spelling for all texts that mean one number: the first that came."""
    value = number(text)
    return text if value is None else spelled.setdefault(float(f"{value:.6g}"), written(text))


def _is_volume(along: NDArray[np.float64], places: int) -> bool:
    return len(along) == places and bool((np.diff(along) > SAME_PLACE_MM).all())


def _multivolume(keywords: Sequence[str], groups: Groups) -> DataError:
    lists = [listing(key[column] for key in groups) for column in range(len(keywords))]
    named = " and ".join(
        f"{keyword} ({values})" if values else keyword for keyword, values in zip(keywords, lists, strict=True)
    )
    what = f"the series holds {len(groups)} volumes that differ in {named}."
    fix = f"Choose one in {_COLUMN}{_example(keywords, groups, lists)}, or name several as channels."
    return DataError("DCM-MULTIVOLUME", what, fix)


def _partly(keyword: str, groups: Groups) -> DataError:
    values = listing(key[0] for key in groups)
    named = f"{keyword} ({values})" if values else keyword
    what = f"the series holds several volumes, of which {len(groups)} can be told by {named} and the others by nothing."
    fix = f"Choose one in {_COLUMN}{_example([keyword], groups, [values])}."
    return DataError("DCM-MULTIVOLUME", what, fix)


def _example(keywords: Sequence[str], groups: Groups, lists: Sequence[str]) -> str:
    """Return a selection that would work; words of headers are never shown."""
    first = next(iter(groups))
    if all(lists):
        return ", for example " + "; ".join(f"{keyword}={value}" for keyword, value in zip(keywords, first, strict=True))
    return ", for example " + "; ".join(
        f"{keyword}={value if values else '...'}" for keyword, value, values in zip(keywords, first, lists, strict=True)
    )
