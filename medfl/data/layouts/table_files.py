"""Files that may hold a table or a list of cases, by their names; only text is opened to tell a list from prose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfl.data.index.walk import is_hidden
from medfl.data.layouts.bids_names import DESCRIPTION_FILE
from medfl.data.layouts.sources import is_image_file

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
TABLE_SUFFIXES = (
    *(".csv", ".tsv", ".json", ".jsonl", ".csv.gz", ".tsv.gz", ".json.gz", ".parquet", ".feather"),
    *(".sav", ".dta", ".sas7bdat", ".accdb", ".mdb", *WORKBOOKS),
)
_OTHER_SUFFIXES = (".yaml", ".yml", ".xml", ".pkl", ".pickle", ".npy", ".npz")  # elsewhere they may be images
_LIST_SUFFIXES = (".txt", ".lst", ".list")
_SUFFIXES = (*TABLE_SUFFIXES, *_OTHER_SUFFIXES, *_LIST_SUFFIXES)
_NO_TABLES = {DESCRIPTION_FILE, "plans.json", "dataset_fingerprint.json"}  # nothing of a patient or a class
_PROSE = ("readme", "licen", "change", "citation", "notice", "requirements", "copying", "authors", "version")
_PHENOTYPE = "phenotype"  # folder of BIDS with tables of what was asked and measured
_MAX_TEXT, _MAX_WORDS = 65_536, 3  # bytes that are looked at; words of a line of a list


def list_tables(root: Path, layout: str) -> Iterator[Path]:
    """Yield the files of a data folder itself that may be tables, and those of `phenotype` in BIDS.

    A file that goes with an image, or a JSON file that BIDS puts there, is none.

    Parameters
    ----------
    root : Path
        Data folder.
    layout : str
        Name of its layout.

    Raises
    ------
    OSError
        When a folder cannot be listed.
    """
    files = [path for path in sorted(root.iterdir()) if not is_hidden(path.name) and path.is_file()]
    images = {path.name.partition(".")[0] for path in files if is_image_file(path.name)}
    if layout == "bids" and (root / _PHENOTYPE).is_dir():
        files += sorted(path for path in (root / _PHENOTYPE).iterdir() if not is_hidden(path.name) and path.is_file())
    for path in files:
        kind = table_kind(path.name)
        if not kind or path.name in _NO_TABLES or path.name.partition(".")[0] in images:
            continue
        if not (layout == "bids" and kind == ".json") and (kind not in _LIST_SUFFIXES or _is_list(path)):
            yield path


def table_kind(name: str) -> str:
    """Return the ending of a name that tables have, as ``.csv.gz``; nothing for another one."""
    return max((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), key=len, default="")


def _is_list(path: Path) -> bool:
    """Return whether a text has only short lines, as names of cases, and no sentences; one that cannot be read may."""
    if path.name.lower().startswith(_PROSE):
        return False
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_TEXT).decode("utf-8", "replace").splitlines()
    except OSError:
        return True
    full = [line for line in lines if line.strip()]
    return bool(full) and all(len(line.split(" ")) <= _MAX_WORDS for line in full)
