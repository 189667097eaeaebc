"""Tables of mask values: what BIDS puts beside a discrete segmentation, and tables of other names that seem to say the same."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from medfl.data.cases import Source
from medfl.data.layouts.bids_names import bids_entities, bids_suffix
from medfl.data.layouts.columns import find_column
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.layouts.json_table import load_json
from medfl.data.layouts.other_value_tables import (
    OTHER_ENDINGS,
    doubt_warning,
    is_general,
    keyed_parts,
    other_table_error,
    seems_value_table,
    speaks_of_values,
)
from medfl.data.layouts.sources import require_inside
from medfl.data.layouts.table import read_table
from medfl.data.layouts.value_names import ValueNames, parse_value_names, sort_pairs
from medfl.data.spelling import fold_column, fold_name, is_blank, parse_whole_number
from medfl.errors import DataError

VALUE_TABLE = "dseg.tsv"  # how the name of a table of BIDS ends that says what the values of masks mean
_SIDECAR = "dseg.json"
_INDEX_COLUMN, _NAME_COLUMN = "index", "name"  # of BIDS; 'mapping' and 'abbreviation' may stand beside them
_MAP_KEYS = ("labelmap", "levels", "labels", "labelnames", "classes")  # of a sidecar, without signs between words


def name_mask_values(listing: Listing, root: Path) -> Listing:
    """Return a listing in which the masks ``*_dseg`` know what their values mean, by the tables that BIDS puts beside them.

    The nearest table counts, in the folder of the mask or one above it up to `root`, of which every entity is one of the mask's
    (the inheritance principle): for ``sub-01_desc-aseg_dseg.nii.gz`` also ``desc-aseg_dseg.tsv`` at the root of a derivative;
    without one, the nearest ``*_dseg.json`` with a ``LabelMap``. What is not understood makes the masks that it governs
    unusable (``LBL-TABLE``). So does, where no table of BIDS counts, one of another name that seems to say what values mean; at
    the root, where tables of patients lie, and for a name that does not speak of labels, it is only told. A mask without names
    is unusable, too, if a table of BIDS near it is about no mask at all, or if other masks have names.

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
        if isinstance(label, Source) and _is_dseg(label) and not label.names:
            try:
                named = replace(label, names=tables.names_of(label.paths[0]))
                entry = replace(entry, label=named)
            except DataError as error:
                entry = replace(entry, label=error, label_files=label.paths)
        entries.append(entry)
    entries = _refuse_unnamed(entries)
    warnings = (*listing.warnings, *([doubt_warning(VALUE_TABLE)] if tables.doubtful else []))
    return replace(listing, entries=tuple(entries), tables=listing.tables | tables.used, warnings=warnings)


def _refuse_unnamed(entries: Sequence[Entry]) -> list[Entry]:
    """Refuse masks without names of values where others have them: their values need not follow the study's classes either."""
    masks = [entry.label for entry in entries if isinstance(entry.label, Source) and _is_dseg(entry.label)]
    named = sum(bool(mask.names) for mask in masks)
    if not named:
        return [*entries]
    what = f"tables say what the values of {named} other masks mean, and none says it of this mask."
    error = DataError("LBL-TABLE", what, f"Put one {VALUE_TABLE} above all masks that it is about, or one beside each of them.")
    return [
        replace(entry, label=error, label_files=entry.label.paths)
        if isinstance(entry.label, Source) and _is_dseg(entry.label) and not entry.label.names
        else entry
        for entry in entries
    ]


def _is_dseg(mask: Source) -> bool:
    return mask.kind == "nifti" and bids_suffix(mask.paths[0]) == "dseg"


class _ValueTables:
    """Tables of a data folder, each folder listed and each table read once.

    `used` are the paths of those that count, `doubtful` those that may say what values mean.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.used: set[str] = set()
        self.doubtful: set[Path] = set()
        self._folder, self._idle = cache(_FolderTables.of), cache(self._find_idle)
        self._table, self._sidecar = cache(_or_error(read_value_table)), cache(_or_error(_read_sidecar))
        self._is_other = cache(seems_value_table)

    def names_of(self, mask: Path) -> ValueNames:
        """Return what the values of a mask mean, nothing without a table."""
        by_table = self._first(mask, VALUE_TABLE, self._table)
        by_sidecar = self._first(mask, _SIDECAR, self._sidecar)
        if by_table and by_sidecar:
            names = dict(by_table)
            if any(fold_name(names.get(value, name)) != fold_name(name) for value, name in by_sidecar):
                raise _table_error(f"contradicts the names of values in {_SIDECAR}")
        if not (by_table or by_sidecar):
            self._refuse_guess(mask)
        return by_table or by_sidecar

    def _first(self, mask: Path, ending: str, read: Callable[[Path], ValueNames | DataError]) -> ValueNames:
        """Return what the nearest file says that says something."""
        entities = bids_entities(mask)
        for folder in self._above(mask):
            fitting = [path for path in self._folder(folder).of_bids.about(entities) if path.name.lower().endswith(ending)]
            for path in fitting:
                require_inside(self._root, path)
            telling = [path for path in fitting if read(path)]
            most = max((len(bids_entities(path)) for path in telling), default=0)
            nearest = [path for path in telling if len(bids_entities(path)) == most]
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

    def _refuse_guess(self, mask: Path) -> None:
        """Refuse a mask without names if a table near it seems to give them; one that only may is kept in `doubtful`."""
        entities = bids_entities(mask)
        others = {
            path for folder in self._above(mask) for path in self._folder(folder).others.about(entities) if self._is_other(path)
        }
        doubtful = {path for path in others if not speaks_of_values(path) or (path.parent == self._root and is_general(path))}
        if others - doubtful:
            raise other_table_error(VALUE_TABLE)
        if any(_may_be_of_one(mask, table) for folder in self._above(mask) for table in self._idle(folder)):
            what = f"a table near the mask ({VALUE_TABLE}) says what values mean, and its name has a part that no mask has."
            fix = "Take that part out of its name if it is about these masks; if it is about something else, move it elsewhere."
            raise DataError("LBL-TABLE", what, fix)
        self.doubtful |= doubtful

    def _find_idle(self, folder: Path) -> list[Path]:
        """Return the tables of BIDS in a folder that say what values mean, and are about no mask."""
        return [path for path in self._folder(folder).of_bids.paths if self._names_no_mask(path)]

    def _names_no_mask(self, table: Path) -> bool:
        """Return whether a table says what values mean, and there is no mask in its folder or below that it is about."""
        told = self._table(table) if table.name.lower().endswith(VALUE_TABLE) else self._sidecar(table)
        masks = (path for path in table.parent.rglob("*_dseg.nii*") if bids_entities(table) <= bids_entities(path))
        return bool(told) and next(masks, None) is None

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
        index, name = (find_column(table.columns, column, rows=table.rows) for column in (_INDEX_COLUMN, _NAME_COLUMN))
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


class _ByEntities:
    """Files by the parts of their names, of which a mask must have all; each is filed under its rarest one.

    So a mask is not compared to every file of a folder that holds one for each mask.
    """

    def __init__(self, files: Mapping[Path, frozenset[str]]) -> None:
        self.paths = [*files]
        counts = Counter(part for parts in files.values() for part in parts)
        self._by_part: dict[str, list[tuple[Path, frozenset[str]]]] = defaultdict(list)
        for path, parts in files.items():
            self._by_part[min(parts, key=lambda part: (counts[part], part), default="")].append((path, parts))

    def about(self, entities: frozenset[str]) -> list[Path]:
        """Return the files of whose parts all are among these."""
        filed = (file for part in ("", *sorted(entities)) for file in self._by_part.get(part, ()))
        return [path for path, parts in filed if parts <= entities]


class _FolderTables(NamedTuple):
    """Files of a folder that may say what values mean: those of BIDS, and others."""

    of_bids: _ByEntities
    others: _ByEntities

    @classmethod
    def of(cls, folder: Path) -> _FolderTables:
        """List a folder."""
        files = sorted(path for path in folder.iterdir() if path.name.lower().endswith(OTHER_ENDINGS) and path.is_file())
        return cls(
            _ByEntities({path: bids_entities(path) for path in files if _is_of_bids(path)}),
            _ByEntities({path: keyed_parts(path) for path in files if not _is_of_bids(path)}),
        )


def _may_be_of_one(mask: Path, table: Path) -> bool:
    """Return whether a table is not that of another patient or visit."""
    own, named = ({part.partition("-")[0]: part for part in bids_entities(path)} for path in (mask, table))
    return all(own[key] == named[key] for key in ("sub", "ses") if key in named and key in own)


def _is_of_bids(path: Path) -> bool:
    return path.name.lower().endswith((VALUE_TABLE, _SIDECAR)) and bids_suffix(path) == "dseg"


def _table_error(why: str) -> DataError:
    what = f"the table that says what the values of the mask mean ({VALUE_TABLE}) {why}."
    return DataError("LBL-TABLE", what, "Correct it: 'index' and 'name' for each value, separated by tabs.")
