"""Selection of one volume of a series that holds several: ``EchoTime=10; orientation=axial``, or ``AcquisitionTime=#2``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medfl.data.dicom.headers import Header
from medfl.data.dicom.keywords import UNSHOWN_KEYWORDS, VOLUME_KEYWORDS
from medfl.data.dicom.partitions import volume_groups
from medfl.data.dicom.shown import shown_values
from medfl.data.dicom.value_texts import format_numbers, is_same_value
from medfl.errors import DataError
from medfl.study.image_conditions import CONDITION_KEYWORDS, MISSING, ImageCondition

OBJECT_KEYS = ("SeriesInstanceUID", "sop_instance")  # of whole files
MATRIX_KEYS = {"rows": "Rows", "columns": "Columns"}
ORIENTATIONS = ("sagittal", "coronal", "axial")  # by the patient axis (L, P, S) that the slice normal is closest to
# keys of what an image shows: compared as in the `select` of a study, without case and blanks, with * for any characters
_SHOWN_KEYS = tuple(keyword for keyword in CONDITION_KEYWORDS if keyword != "ImageType")
SELECT_KEYS = tuple(dict.fromkeys((*OBJECT_KEYS, "orientation", *MATRIX_KEYS, *VOLUME_KEYWORDS, *_SHOWN_KEYS)))
# Keys that an index may have as columns; the others are attributes that many an index lists for information
COLUMN_KEYS = (
    *(*OBJECT_KEYS, "orientation", *MATRIX_KEYS),
    *("EchoTime", "DiffusionBValue", "TemporalPositionIdentifier", "TriggerTime", "InversionTime", "FlipAngle", "KVP"),
    *("ConvolutionKernel", "AcquisitionNumber", "ImageType"),
)
KEY_ALIASES = {
    "sopinstanceuid": "sop_instance",
    "effectiveechotime": "EchoTime",
    "temporalpositionindex": "TemporalPositionIdentifier",
    "frameacquisitionnumber": "AcquisitionNumber",
    "frametype": "ImageType",
    "imagelaterality": "Laterality",
    "frameacquisitiondatetime": "AcquisitionDateTime",
}
_ORDINAL = re.compile(r"#\s*(\d+)")  # the nth value in order: of what no message and no index should hold
_KEY_BY_NAME = {key.casefold(): key for key in SELECT_KEYS} | KEY_ALIASES


def parse_select(text: str) -> dict[str, str]:
    """Return the conditions of a selection, by key.

    Parameters
    ----------
    text : str
        ``key=value``, several joined by semicolons; empty selects everything.

    Raises
    ------
    DataError
        ``INDEX-SELECT`` for an unknown key, a repeated key, or a missing value.
    """
    conditions: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        key = _KEY_BY_NAME.get(name.casefold())
        if key is None:
            raise DataError("INDEX-SELECT", "a key of 'select' is unknown.", f"Allowed are {', '.join(SELECT_KEYS)}.")
        if not value or key in conditions:
            raise DataError("INDEX-SELECT", f"'{key}' needs one value.", f"Write it as {key}=value; join keys by semicolons.")
        conditions[key] = value
    plane = conditions.get("orientation", ORIENTATIONS[0]).casefold()
    if plane not in ORIENTATIONS:
        raise DataError("INDEX-SELECT", "the orientation is unknown.", f"Allowed are {', '.join(ORIENTATIONS)}.")
    return conditions


def image_conditions(conditions: Mapping[str, str]) -> tuple[ImageCondition, ...]:
    """Return those of the conditions of a selection that tell images by what they show, in whatever series they are."""
    return tuple(
        ImageCondition(key, (value,))
        for key, value in conditions.items()
        if key in _SHOWN_KEYS and _ordinal(key, value) is None
    )


def select_headers(headers: Sequence[Header], conditions: Mapping[str, str], keys: Iterable[str] = SELECT_KEYS) -> list[Header]:
    """Return the images that fulfil all conditions on the given keys.

    Raises
    ------
    DataError
        ``INDEX-SELECT`` when no image fulfils a condition.
    """
    selected = list(headers)
    wanted = [key for key in keys if key in conditions]
    for key in sorted(wanted, key=lambda key: _ordinal(key, conditions[key]) is not None):  # count among the others' images
        number = _ordinal(key, conditions[key])
        if number is None:
            matching = [header for header in selected if _matches(header, key, conditions[key])]
        else:
            groups = volume_groups(selected, key)
            matching = [selected[index] for index in sorted(groups[number - 1])] if 0 < number <= len(groups) else []
        if not matching:
            what = f"no image of the series has the {key} of 'select'."
            raise DataError("INDEX-SELECT", what, _describe_available(selected, key))
        selected = matching
    return selected


def _ordinal(key: str, value: str) -> int | None:
    match = _ORDINAL.fullmatch(value) if key in VOLUME_KEYWORDS else None
    return int(match[1]) if match else None


def _describe_available(headers: Sequence[Header], key: str) -> str:
    if key not in VOLUME_KEYWORDS:
        return "Check the value, and that it belongs to this series."
    available = "" if key in UNSHOWN_KEYWORDS else format_numbers([header.text(key) for header in headers])
    if available:
        return f"Available are {available}."
    return f"Check the value, or count: {key}=#1 is the first of {len(volume_groups(headers, key))}."


def _matches(header: Header, key: str, value: str) -> bool:
    if key == "orientation":
        return slice_orientation(header) == value.casefold()
    if key == "ImageType":
        return value.upper() == "\\".join(header.image_type) or value.upper() in header.image_type
    if key in _SHOWN_KEYS:
        return ImageCondition(key, (value,)).matches(shown_values(header, key))
    if key in VOLUME_KEYWORDS and value.casefold() == MISSING and not header.text(key):
        return True
    if key == "sop_instance":
        return header.text("SOPInstanceUID") == value
    if key == "SeriesInstanceUID":
        return header.text(key) == value
    return is_same_value(header.text(MATRIX_KEYS.get(key, key)), value)


def slice_orientation(header: Header) -> str:
    """Return the plane that a slice is closest to, or nothing when its orientation is missing or damaged."""
    try:
        cosines = np.array(header.numbers("ImageOrientationPatient"), dtype=np.float64)
    except ValueError:
        return ""
    if cosines.shape != (6,) or not np.isfinite(cosines).all():
        return ""
    return ORIENTATIONS[int(np.abs(np.cross(cosines[:3], cosines[3:])).argmax())]
