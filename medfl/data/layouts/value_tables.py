"""Tables of mask values: what BIDS puts beside a discrete segmentation, and tables of other names that seem to say the same."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.layouts.columns import find_column, find_synonyms, has_column
from medfl.data.layouts.entries import CASE_COLUMN, Listing
from medfl.data.layouts.json_table import load_json
from medfl.data.layouts.sources import is_image_file, require_inside
from medfl.data.layouts.table import Table, read_table
from medfl.data.layouts.value_names import ValueNames, parse_value_names, sort_pairs
from medfl.data.spelling import fold_column, fold_name, is_blank, parse_whole_number
from medfl.errors import DataError

VALUE_TABLE = "dseg.tsv"  # how the name of a table of BIDS ends that says what the values of masks mean
_SIDECAR = "dseg.json"
_INDEX_COLUMN, _NAME_COLUMN = "index", "name"  # of BIDS; 'mapping' and 'abbreviation' may stand beside them
_MAP_KEYS = ("labelmap", "levels", "labels", "labelnames", "classes")  # of a sidecar, without signs between words
_OTHER_ENDINGS = (".tsv", ".csv", ".json", ".txt")
_OTHER_NAMES_TEXT = """
    dseg label labels labelmap labelnames labeltable classes classnames lut lookup lookuptable colortable legend segments
    structures values names
"""
_OTHER_NAMES = frozenset(_OTHER_NAMES_TEXT.split())
_NUMBERED_LINE = re.compile(r"\s*\d+[\s,;:=]+[^\W\d]")  # of a list of values in a text file, as of FreeSurfer
_MAX_TEXT = 1_000_000  # bytes of a text file that may be such a list
_MEASURES = ("volume",)  # of a structure, though it may be a column of images elsewhere


def name_mask_values(listing: Listing, root: Path) -> Listing:
    """Return a listing in which the masks ``*_dseg`` know what their values mean, by the tables that BIDS puts beside them.

    The nearest table counts, in the folder of the mask or one above it up to `root`, of which every entity is one of the mask's
    (the inheritance principle): for ``sub-01_desc-aseg_dseg.nii.gz`` also ``desc-aseg_dseg.tsv`` at the root of a derivative;
    without one, the nearest ``*_dseg.json`` with a ``LabelMap``. What is not understood makes the masks that it governs
    unusable (``LBL-TABLE``), and so does a table of another name that seems to say what values mean where none of BIDS does; at
    the root, where tables of patients lie, one whose name does not speak of such masks is only told.

    Parameters
    ----------
    listing : Listing
        What a layout found.
    root : Path
        Data folder.

    References
    ----------
    BIDS specification, common principles, "The inheritance principle".
    """
    tables = _ValueTables(root)
    entries = []
    for entry in listing.entries:
        label = entry.label
        if isinstance(label, Source) and label.kind == "nifti" and not label.names and _suffix(label.paths[0]) == "dseg":
            try:
                named = replace(label, names=tables.names_of(label.paths[0]))
                entry = replace(entry, label=named)
            except DataError as error:
                entry = replace(entry, label=error, label_files=label.paths)
        entries.append(entry)
    warnings = (*listing.warnings, *([_doubt_warning()] if tables.doubtful else []))
    return replace(listing, entries=tuple(entries), tables=listing.tables | tables.used, warnings=warnings)


class _ValueTables:
    """Tables of a data folder, each folder listed and each table read once.

    `used` are the paths of those that count, `doubtful` those at the root that may say what values mean.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.used: set[str] = set()
        self.doubtful: set[Path] = set()
        self._files = cache(_list_files)
        self._table, self._sidecar = cache(_or_error(read_value_table)), cache(_or_error(_read_sidecar))
        self._is_other = cache(_seems_value_table)

    def names_of(self, mask: Path) -> ValueNames:
        """Return what the values of a mask mean, nothing without a table."""
        by_table = self._first(mask, VALUE_TABLE, self._table)
        by_sidecar = self._first(mask, _SIDECAR, self._sidecar)
        if by_table and by_sidecar:
            names = dict(by_table)
            if any(fold_name(names.get(value, name)) != fold_name(name) for value, name in by_sidecar):
                raise _table_error(f"contradicts the names of values in {_SIDECAR}")
        if not (by_table or by_sidecar):
            others = {path for path in self._others(mask) if self._is_other(path)}
            doubtful = {path for path in others if path.parent == self._root and _is_general(path)}
            if others - doubtful:
                raise _other_table_error()
            self.doubtful |= doubtful
        return by_table or by_sidecar

    def _first(self, mask: Path, ending: str, read: Callable[[Path], ValueNames | DataError]) -> ValueNames:
        """Return what the nearest file says that says something."""
        entities = _entities(mask)
        for folder in self._above(mask):
            files = [path for path in self._files(folder) if path.name.lower().endswith(ending) and _suffix(path) == "dseg"]
            fitting = [path for path in files if _entities(path) <= entities]
            for path in fitting:
                require_inside(self._root, path)
            telling = [path for path in fitting if read(path)]
            most = max((len(_entities(path)) for path in telling), default=0)
            nearest = [path for path in telling if len(_entities(path)) == most]
            if len(nearest) > 1:
                what = f"{len(nearest)} tables in one folder say what the values of the mask mean."
                raise DataError("LBL-TABLE", what, "Keep the one that is meant.")
            if nearest:
                self.used.add(os.fspath(nearest[0]))
                names = read(nearest[0])
                if isinstance(names, DataError):
                    raise names
                return names
        return ()

    def _others(self, mask: Path) -> Iterator[Path]:
        """Yield files of other names near a mask that may be tables of values."""
        for folder in self._above(mask):
            for path in self._files(folder):
                named = path.name.lower().endswith(_OTHER_ENDINGS) and _last_word(path) in _OTHER_NAMES
                ours = path.name.lower().endswith((VALUE_TABLE, _SIDECAR)) and _suffix(path) == "dseg"
                if named and not ours and _keyed_parts(path) <= _entities(mask):
                    yield path

    def _above(self, mask: Path) -> list[Path]:
        return [folder for folder in mask.parents if folder.is_relative_to(self._root)]


def read_value_table(path: Path) -> ValueNames:
    """Return what values mean by a table with the columns ``index`` and ``name``.

    A row without a name leaves its value without one.

    Raises
    ------
    DataError
        ``LBL-TABLE``.
    """
    try:
        table = read_table(path)
        index, name = (find_column(table.columns, column) for column in (_INDEX_COLUMN, _NAME_COLUMN))
    except DataError:
        raise _table_error("is no table with the columns 'index' and 'name'") from None
    rows = [(row[index], row[name]) for row in table.rows if not (is_blank(row[index]) and is_blank(row[name]))]
    values = [parse_whole_number(text) for text, _ in rows]
    if None in values or not values:
        raise _table_error("has a row whose 'index' is no whole number" if values else "has no row")
    pairs = ((value, text) for value, (_, text) in zip(values, rows, strict=True) if value is not None and not is_blank(text))
    names = sort_pairs(pairs, f"the table of the values of the mask ({VALUE_TABLE})", "LBL-TABLE")
    if not names:
        raise _table_error("has no name")
    return names


def _read_sidecar(path: Path) -> ValueNames:
    """Return what values mean by the ``LabelMap`` of a sidecar; nothing where it says something else."""
    try:
        document = load_json(path)
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DataError("LBL-TABLE", f"the file beside the mask ({_SIDECAR}) is no JSON object.", "Write it again.")
    maps = [value for key, value in document.items() if fold_column(key) in _MAP_KEYS]
    if not maps:
        return ()
    try:
        (only,) = maps
        return parse_value_names(only, _SIDECAR)
    except (ValueError, DataError):
        what = f"the names of the values of the mask in {_SIDECAR} are not understood."
        fix = 'Write LabelMap as {"1": "liver", "2": "tumour"}, or a table dseg.tsv with the columns \'index\' and \'name\'.'
        raise DataError("LBL-TABLE", what, fix) from None


def _or_error(read: Callable[[Path], ValueNames]) -> Callable[[Path], ValueNames | DataError]:
    def try_it(path: Path) -> ValueNames | DataError:
        try:
            return read(path)
        except DataError as error:
            return error

    return try_it


def _other_table_error() -> DataError:
    what = "a table near the mask seems to say what its values mean, and is not named and written as BIDS has it."
    fix = (
        f"Name it as the mask, with {VALUE_TABLE} at the end, and give it the columns 'index' and 'name'; if it is "
        "about something else, move it elsewhere."
    )
    return DataError("LBL-TABLE", what, fix)


def _doubt_warning() -> Finding:
    what = (
        "a table in the data folder may say what the values of the masks *_dseg mean, and is not read: "
        "they are taken for positions of the classes."
    )
    fix = f"If it does, call it {VALUE_TABLE} and give it the columns 'index' and 'name'; else there is nothing to do."
    return Finding.warning("LBL-TABLE", what, fix)


def _is_general(path: Path) -> bool:
    """Return whether the name of a table has nothing of a mask of BIDS."""
    return not _keyed_parts(path) and _suffix(path) != "dseg"


def _seems_value_table(path: Path) -> bool:
    """Return whether a file by its content gives names to whole numbers; one that cannot be read does, for its name says so."""
    lower = path.name.lower()
    try:
        if not path.read_bytes()[:_MAX_TEXT].strip(b"\xef\xbb\xbf\0 \t\r\n"):
            return False
        if lower.endswith(".json"):
            document = load_json(path)
            maps = [document, *document.values()] if isinstance(document, dict) else []
            return any(_names_values(labels) for labels in maps)
        if lower.endswith(".txt"):
            lines = path.read_bytes()[:_MAX_TEXT].decode("utf-8", "replace").splitlines()
            return sum(_NUMBERED_LINE.match(line) is not None for line in lines) > 1
        return _holds_names_of_values(read_table(path))
    except (DataError, OSError, ValueError, RecursionError):
        return True


def _names_values(labels: object) -> bool:
    try:
        return bool(parse_value_names(labels, _SIDECAR))
    except DataError:
        return False


def _holds_names_of_values(table: Table) -> bool:
    """Return whether a column holds different whole numbers, another different texts, and none names a person or file."""
    names = [name for name in table.columns if fold_column(name) not in _MEASURES]
    if any(find_synonyms(names, role) for role in ("patient", "image")) or has_column(names, CASE_COLUMN) or not table.rows:
        return False
    if any(is_image_file(cell) or cell.startswith("sub-") for row in table.rows for cell in row.values()):
        return False
    columns = [[row[name] for row in table.rows] for name in table.columns]
    numbers = [cells for cells in columns if all(parse_whole_number(cell) is not None for cell in cells)]
    texts = [cells for cells in columns if not any(parse_whole_number(cell) is not None for cell in cells)]
    return all(any(len(set(cells)) == len(cells) for cells in kind) for kind in (numbers, texts))


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(_OTHER_ENDINGS) and path.is_file())


def _suffix(path: Path) -> str:
    """Return the suffix of a BIDS name, its last part: ``dseg``."""
    return _parts(path)[-1].lower()


def _last_word(path: Path) -> str:
    """Return the end of a name without signs: ``labels`` of ``desc-aseg_labels.tsv``, ``labelnames`` of ``label_names.csv``."""
    return fold_column("".join(part for part in _parts(path) if part not in _keyed_parts(path)))


def _keyed_parts(path: Path) -> frozenset[str]:
    """Return the parts of a name that are written as entities of BIDS; ``label-names`` is none."""
    return frozenset(part for part in _parts(path) if "-" in part and fold_column(part) not in _OTHER_NAMES)


def _entities(path: Path) -> frozenset[str]:
    """Return the entities of a BIDS name: ``sub-01``, ``desc-aseg``."""
    return frozenset(_parts(path)[:-1])


def _parts(path: Path) -> list[str]:
    return path.name.split(".")[0].split("_")


def _table_error(why: str) -> DataError:
    what = f"the table that says what the values of the mask mean ({VALUE_TABLE}) {why}."
    return DataError("LBL-TABLE", what, "Correct it: 'index' and 'name' for each value, separated by tabs.")
