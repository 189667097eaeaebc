"""Class tables that people keep as JSON: a list of objects, or an object with one entry a patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medfl.data.spelling import strip_cell
from medfl.errors import DataError

JSON_SUFFIX = ".json"
_WRITE_ONE = "Write one, or set 'layout' in site.toml if the folder is not described by an index."


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
    except OSError as error:
        raise open_error(error) from None
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


def open_error(error: OSError, file: str = "index file of the given name", fix: str = _WRITE_ONE) -> DataError:
    """Return the error of a table or description that could not be opened: only one that is not there is missing.

    Parameters
    ----------
    error : OSError
        What the operating system says.
    file : str
        What the file is called in the message.
    fix : str
        What to do if it is not there.
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError("INDEX-MISSING", f"the data folder has no {file}.", fix)
    return DataError("INDEX-FORMAT", f"the {file} cannot be opened.", "Check its permissions, the disk and the network drive.")


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
