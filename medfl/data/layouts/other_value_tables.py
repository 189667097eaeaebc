"""Tables that seem to say what the values of masks mean, though they are not named and written as BIDS has it."""

from __future__ import annotations

import re
from pathlib import Path

from medfl.data.findings import Finding
from medfl.data.layouts.bids_names import bids_suffix, split_bids_name
from medfl.data.layouts.columns import find_synonyms, has_column
from medfl.data.layouts.entries import CASE_COLUMN
from medfl.data.layouts.json_table import load_json
from medfl.data.layouts.sources import is_image_file
from medfl.data.layouts.table import Table, read_table
from medfl.data.layouts.value_names import parse_value_names
from medfl.data.spelling import fold_column, parse_whole_number
from medfl.errors import DataError

_TEXT_ENDINGS = (".txt", ".label", ".lut", ".ctbl")  # of FreeSurfer, ITK-SNAP, 3D Slicer
OTHER_ENDINGS = (".tsv", ".csv", ".json", *_TEXT_ENDINGS)
_NAMES_TEXT = """
    dseg label labels labelmap labelnames labeltable classes classnames lut lookup lookuptable colortable legend segments
    structures values names
"""
_NAMES = frozenset(_NAMES_TEXT.split())
_WORDS = frozenset(  # anywhere in a name
    ("label", "labels", "labelmap", "lut", "legend", "legende", "classes", "klassen", "segments", "strukturen")
)
_ENTITY = re.compile(
    r"(?:sub|ses|space|res|den|desc|label|roi|seg|atlas|hemi|acq|ce|rec|run|part|mod|split|chunk)-[0-9a-zA-Z]+"
)
_NUMBERED_LINE = re.compile(r"\s*\d+[\s,;:=]+[^\W\d]|\s*\d+(?:\s+[\d.]+){3,}\s+\"")  # with a name behind a number, or in quotes
_MAX_TEXT = 1_000_000  # bytes of a text file that may be such a list
_MEASURES = ("volume",)  # of a structure, though it may be a column of images elsewhere


def seems_value_table(path: Path) -> bool:
    """Return whether a file gives names to whole numbers: its content does, or it is called so and cannot be read.

    A file whose name does not speak of labels counts only if all of it is such names, from 0 or 1 on.
    """
    called = speaks_of_values(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TEXT)
        if not data.strip(b"\xef\xbb\xbf\0 \t\r\n"):
            return False
        if path.suffix.lower() == ".json":
            document = load_json(path)
            maps = [document, *document.values()] if isinstance(document, dict) else []
            return any(_names_values(labels, by_number=not called) for labels in maps)
        if path.suffix.lower() in _TEXT_ENDINGS:
            lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip() and line[0] != "#"]
            count = sum(_NUMBERED_LINE.match(line) is not None for line in lines)
            return count > 1 and (called or count == len(lines))
        return _holds_names_of_values(read_table(path), from_start=not called)
    except (DataError, OSError, ValueError, RecursionError):
        return called


def speaks_of_values(path: Path) -> bool:
    """Return whether a file is called as one that says what values mean: ``desc-aseg_labels.tsv``, ``hippo_labels.csv``."""
    bare = [part for part in split_bids_name(path) if part not in keyed_parts(path)]
    words = {word for part in bare for word in re.split("[^a-z]+", part.lower())}
    return fold_column("".join(bare)) in _NAMES or bool(words & _WORDS) or path.suffix.lower() in _TEXT_ENDINGS[1:]


def is_general(path: Path) -> bool:
    """Return whether the name of a table has nothing of a mask of BIDS."""
    return not keyed_parts(path) and bids_suffix(path) != "dseg"


def keyed_parts(path: Path) -> frozenset[str]:
    """Return the parts of a name that are written as entities of BIDS; ``label-names`` is none."""
    return frozenset(part for part in split_bids_name(path) if _ENTITY.fullmatch(part) and fold_column(part) not in _NAMES)


def other_table_error(ending: str) -> DataError:
    """Return the error of a mask near such a table; `ending` is how BIDS ends its name."""
    what = "a table near the mask seems to say what its values mean, and is not named and written as BIDS has it."
    fix = (
        f"Name it as the mask, with {ending} at the end, and give it the columns 'index' and 'name'; if it is "
        "about something else, move it elsewhere."
    )
    return DataError("LBL-TABLE", what, fix)


def doubt_warning(ending: str) -> Finding:
    """Return the warning about a table that may be one."""
    what = (
        "a table in the data folder may say what the values of the masks *_dseg mean, and is not read: "
        "they are taken for positions of the classes."
    )
    fix = f"If it does, call it {ending} and give it the columns 'index' and 'name'; else there is nothing to do."
    return Finding.warning("LBL-TABLE", what, fix)


def _names_values(labels: object, *, by_number: bool) -> bool:
    try:
        parse_value_names(labels, "")
    except DataError:
        return False
    return isinstance(labels, dict) and (not by_number or all(parse_whole_number(str(key)) is not None for key in labels))


def _holds_names_of_values(table: Table, *, from_start: bool) -> bool:
    """Return whether a column holds different whole numbers, another different texts, and none names a person or file."""
    names = [name for name in table.columns if fold_column(name) not in _MEASURES]
    if any(find_synonyms(names, role) for role in ("patient", "image")) or has_column(names, CASE_COLUMN) or not table.rows:
        return False
    if any(is_image_file(cell) or cell.startswith("sub-") for row in table.rows for cell in row.values()):
        return False
    columns = [[row[name] for row in table.rows] for name in table.columns]
    numbers = [[parse_whole_number(cell) for cell in cells] for cells in columns]
    texts = [cells for cells, values in zip(columns, numbers, strict=True) if not any(value is not None for value in values)]
    values = [{value for value in cells if value is not None} for cells in numbers if len({*cells} - {None}) == len(cells)]
    starts = any(not from_start or (min(cells) <= 1 and len(cells) > 1) for cells in values)
    return starts and any(len(set(cells)) == len(cells) for cells in texts)
