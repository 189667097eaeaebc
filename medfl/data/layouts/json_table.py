"""Class tables that people keep as JSON: a list of objects, or an object with one entry a patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medfl.data.spelling import strip_cell
from medfl.errors import DataError

JSON_SUFFIX = ".json"


def read_json_rows(path: Path, patient: str, label: str) -> list[dict[str, str]]:
    """Read rows as text by column.

    Parameters
    ----------
    path : Path
        ``[{"patient": "p1", "label": "benign"}, ...]``, ``{"p1": {"label": "benign"}, ...}`` or ``{"p1": "benign", ...}``.
    patient, label : str
        What the columns are called of which the file has only the values.

    Raises
    ------
    DataError
        ``INDEX-MISSING`` or ``INDEX-FORMAT``.
    """
    try:
        document = load_json(path)
    except OSError:
        raise DataError("INDEX-MISSING", "the data folder has no index file of the given name.", "Write one.") from None
    except (ValueError, RecursionError):
        raise DataError("INDEX-FORMAT", "the index is no valid JSON, or names something twice.", "Write it again.") from None
    rows = document
    if isinstance(document, dict):
        rows = [
            _named_row(patient, key, value if isinstance(value, dict) else {label: value}) for key, value in document.items()
        ]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        what = "the index is neither a list of objects nor an object with one entry a patient."
        raise DataError("INDEX-FORMAT", what, "Write it again.")
    return [_clean_row(row) for row in rows]


def load_json(path: Path) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32 in which nothing is named twice: the second would win without a word.

    Raises
    ------
    OSError, ValueError, RecursionError
        When it cannot be read, or is no such file.
    """
    return json.loads(path.read_bytes(), object_pairs_hook=_reject_duplicates)


def _clean_row(row: dict[str, Any]) -> dict[str, str]:
    cells = {strip_cell(column): _to_text(value) for column, value in row.items()}
    if len(cells) < len(row):
        raise DataError("INDEX-FORMAT", "two values of one row of the index have one name.", "Give each a name of its own.")
    return cells


def _named_row(patient: str, key: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a patient who is named outside of it."""
    if str(values.get(patient, key)) != key:
        raise DataError("INDEX-FORMAT", "an entry of the index names another patient inside than outside.", "Correct it.")
    return {**values, patient: key}


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("two entries have one name")
    return values


def _to_text(value: Any) -> str:
    if isinstance(value, dict | list):
        raise DataError("INDEX-FORMAT", "a value of the index is a list or an object.", "Give each cell one value.")
    return "" if value is None else strip_cell(str(value))
