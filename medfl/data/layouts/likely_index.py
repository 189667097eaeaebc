"""Likely indices: tables of another name or with other columns than the index of a site, whose cells name its images."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from medfl.data.index.walk import is_hidden
from medfl.data.layouts.columns import find_synonyms
from medfl.data.layouts.file_columns import find_kind_of_files
from medfl.data.layouts.mask_folders import names_images, names_masks
from medfl.data.layouts.shown_values import is_plain_value
from medfl.data.layouts.sources import is_image_file
from medfl.data.layouts.table import Table, read_table
from medfl.errors import DataError

TABLE_SUFFIXES = (".csv", ".tsv")
_MAX_FOLDERS = 50  # folders in which pictures of a table are looked for
_LEAST_FILES = 2  # one name may be there by chance
_LEAST_SHARE = 0.5  # of the cells of a column that name files


def advise_on_likely_index(root: Path, tables: Iterable[Path], may_name: Callable[[str], bool]) -> str:
    """Return what to set if a table is meant to be the index; nothing where none names images.

    Parameters
    ----------
    root : Path
        Data folder.
    tables : iterable of Path
        Tables in it that are not read.
    may_name : callable
        Returns whether the name of a table without its ending may be repeated.
    """
    files: dict[str, frozenset[str]] | None = None
    for path in tables:
        if path.suffix.lower() not in TABLE_SUFFIXES:
            continue
        try:
            table = read_table(path)
            files = files if files is not None else _list_files(root)
        except (DataError, OSError):  # who reads it says what is wrong with it
            continue
        images = dict(_find_image_columns(table, root, files))
        if images:
            return _describe(path, table, images, named=may_name(path.stem))
    return ""


def _list_files(root: Path) -> dict[str, frozenset[str]]:
    """Return the names of the images in each folder, by its path below the data folder."""
    names: dict[str, set[str]] = {}
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not is_hidden(name))
        place = os.path.relpath(folder, root).replace(os.sep, "/")
        images = {name for name in files if is_image_file(name)}
        if images:
            names["" if place == "." else place] = images
        if len(names) > _MAX_FOLDERS:
            break
    return {place: frozenset(found) for place, found in names.items()}


def _find_image_columns(table: Table, root: Path, files: dict[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    """Yield the columns whose cells are image files, with the pattern that makes paths of them."""
    for column in table.columns:
        cells = {row[column].replace("\\", "/") for row in table.rows} - {""}
        if len(cells) < _LEAST_FILES or is_image_file(column):
            continue
        if find_kind_of_files(cells, root) == "image files":
            yield column, column
            continue
        for place, names in files.items():
            before = f"{place}/" if place else ""
            if _are_among(cells, names):
                yield column, f"{before}{{{column}}}"
                break
            endings = {name[name.index(".") :] for name in names}
            fitting = [ending for ending in sorted(endings) if _are_among({cell + ending for cell in cells}, names)]
            if fitting:
                yield column, f"{before}{{{column}}}{fitting[0]}"
                break


def _are_among(cells: Collection[str], names: Collection[str]) -> bool:
    found = sum(cell in names for cell in cells)
    return found >= _LEAST_FILES and found > _LEAST_SHARE * len(cells)


def _describe(path: Path, table: Table, images: dict[str, str], *, named: bool) -> str:
    masks = [column for column in images if names_masks(column) or find_synonyms([column], "label")]
    settings = [f'index = "{path.name}"' if named else f"index to its name ({path.suffix})"]
    for key, columns in (("image", [column for column in images if column not in masks]), ("label", masks)):
        if columns:
            pattern = images[columns[0]]
            settings.append(f'{key} = "{pattern}"' if _may_show(pattern, table) else f"{key} to the column with its files")
    return f"A table names image files that are there: if it is the index, set {', '.join(settings)} in [data]."


def _may_show(pattern: str, table: Table) -> bool:
    """Return whether a pattern consists of plain words; without a header, a column is called as a cell would be."""
    words = re.findall(r"[^\W\d_]+", pattern)
    usual = any(find_synonyms([column], role) for column in table.columns for role in ("image", "label", "patient"))
    return is_plain_value(" ".join(words)) and (usual or names_images(pattern) or not any(map(str.isupper, words)))
