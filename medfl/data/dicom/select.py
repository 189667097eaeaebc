"""Selection of one volume of a series that holds several: ``EchoTime=10; orientation=axial``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medfl.data.dicom.headers import VOLUME_KEYWORDS, Header
from medfl.errors import DataError

OBJECT_KEYS = ("SeriesInstanceUID", "sop_instance")  # of whole files
MATRIX_KEYS = {"rows": "Rows", "columns": "Columns"}
ORIENTATIONS = ("sagittal", "coronal", "axial")  # by the patient axis (L, P, S) that the slice normal is closest to
SELECT_KEYS = (*OBJECT_KEYS, "orientation", *MATRIX_KEYS, *VOLUME_KEYWORDS)
_ALIASES = {
    "sopinstanceuid": "sop_instance",
    "effectiveechotime": "EchoTime",
    "temporalpositionindex": "TemporalPositionIdentifier",
    "frameacquisitionnumber": "AcquisitionNumber",
    "frametype": "ImageType",
}
_KEY_BY_NAME = {key.casefold(): key for key in SELECT_KEYS} | _ALIASES


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


def select_headers(headers: Sequence[Header], conditions: Mapping[str, str], keys: Iterable[str] = SELECT_KEYS) -> list[Header]:
    """Return the images that fulfil all conditions on the given keys.

    Raises
    ------
    DataError
        ``INDEX-SELECT`` when no image fulfils a condition.
    """
    selected = list(headers)
    for key in (key for key in keys if key in conditions):
        matching = [header for header in selected if _matches(header, key, conditions[key])]
        if not matching:
            available = format_numbers([header.text(key) for header in selected]) if key in VOLUME_KEYWORDS else ""
            fix = f"Available are {available}." if available else "Check the value, and that it belongs to this series."
            raise DataError("INDEX-SELECT", f"no image of the series has the {key} of 'select'.", fix)
        selected = matching
    return selected


def _matches(header: Header, key: str, value: str) -> bool:
    if key == "orientation":
        return slice_orientation(header) == value.casefold()
    if key == "ImageType":
        return value.upper() == "\\".join(header.image_type) or value.upper() in header.image_type
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


def parse_number(text: str) -> float | None:
    """Return the finite number in a text, or None when it is not one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_same_value(one: str, other: str) -> bool:
    """Return whether two texts mean the same value, as ``10`` and ``10.0`` do."""
    first, second = parse_number(one), parse_number(other)
    if first is None or second is None:
        return one.casefold() == other.casefold()
    return math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-6)


def format_numbers(texts: Iterable[str], max_shown: int = 6) -> str:
    """Return the first few distinct numbers, to be shown; nothing when one is not a number, as it could be a name."""
    values: dict[float, str] = {}
    for text in texts:
        value = parse_number(text)
        if value is None:
            return ""
        values.setdefault(value, format_number(text))
    shown = [values[value] for value in sorted(values)]
    return ", ".join(shown[:max_shown]) + (", ..." if len(shown) > max_shown else "")


def format_number(text: str) -> str:
    """Return a number in a short form: ``10``, ``10.0`` or ``4.60123``."""
    value = float(text)
    if value == int(value) and abs(value) < 1e15:
        return f"{value:.1f}" if "." in text else str(int(value))
    return f"{value:.6g}"
