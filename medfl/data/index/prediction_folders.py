"""Folders of predictions that medfl wrote: no data, so that no model learns from a model or is scored by itself."""

from __future__ import annotations

import os
from pathlib import Path

from medfl.system.files import read_json

ABOUT_FILE = "prediction.json"  # what made the predictions, written by `medfl predict` into its folder before anything else

RECORDS_FOLDER = "cases"  # in it: a JSON file for each case


def holds_predictions(folder: str | Path) -> bool:
    """Return whether a folder is one of predictions; a file of that name that somebody else wrote makes it none."""
    path = Path(folder) / ABOUT_FILE
    about = read_json(path) if os.path.isfile(path) else None
    return isinstance(about, dict) and "study-hash" in about and isinstance(about.get("model"), dict)


def find_prediction_files(folder: Path, case: str) -> list[str]:
    """Return the names of the files in a folder of predictions that hold the prediction of a case; none if they are gone."""
    record = read_json(folder / RECORDS_FOLDER / f"{case}.json") or {}
    names = record.get("files", [])
    return [name for name in names if isinstance(name, str) and name == Path(name).name and (folder / name).is_file()]
