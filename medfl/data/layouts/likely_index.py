"""Likely indices: tables of another name or with other columns than the index of a site, whose cells name its images."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.prediction_folders import holds_predictions
from medfl.data.index.walk import is_hidden
from medfl.data.layouts.columns import find_synonyms, show_columns
from medfl.data.layouts.file_columns import find_kind_of_files
from medfl.data.layouts.mask_folders import names_masks
from medfl.data.layouts.shown_names import is_shown_folder, is_usual_name
from medfl.data.layouts.sources import NIFTI_SUFFIXES, is_image_file
from medfl.data.layouts.table import CSV_SUFFIXES, Table, read_table
from medfl.errors import DataError

_MAX_FOLDERS = 50  # folders in which pictures of a table are looked for
_LEAST_FILES = 2  # one name may be there by chance
_LEAST_SHARE = 0.5  # of the cells of a column that name files


class ImageColumn(NamedTuple):
    """A column of image files, and the folder and ending that its cells lack."""

    name: str
    folder: str = ""
    ending: str = ""

    @property
    def pattern(self) -> str:
        """How site.toml names the files."""
        if not (self.folder or self.ending):
            return self.name
        return "/".join(filter(None, (self.folder, f"{{{self.name}}}{self.ending}")))

    @property
    def names_masks(self) -> bool:
        """Whether the column, or the folder of its files, is called like masks."""
        by_folder = names_masks(self.folder.rpartition("/")[2]) if self.folder else False
        return by_folder or names_masks(self.name) or bool(find_synonyms([self.name], "label"))


def advise_on_likely_index(root: Path, tables: Iterable[Path]) -> str:
    """Return what to set if a table is meant to be the index; nothing where none names images.

    Parameters
    ----------
    root : Path
        Data folder.
    tables : iterable of Path
        Tables in it that are not read.
    """
    files: dict[str, frozenset[str]] | None = None
    for path in tables:
        if path.suffix.lower() not in CSV_SUFFIXES:
            continue
        try:
            table = read_table(path)
            files = files if files is not None else list_image_files(root)
        except (DataError, OSError):  # who reads it says what is wrong with it
            continue
        images = list(find_image_columns(table, root, files))
        if images:
            return _describe(path, table, images)
    return ""


def list_image_files(root: Path) -> dict[str, frozenset[str]]:
    """Return the names of the images in each folder, by its path below the data folder."""
    names: dict[str, set[str]] = {}
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not is_hidden(name) and not holds_predictions(os.path.join(folder, name)))
        place = os.path.relpath(folder, root).replace(os.sep, "/")
        images = {name for name in files if is_image_file(name)}
        if images:
            names["" if place == "." else place] = images
        if len(names) > _MAX_FOLDERS:
            break
    return {place: frozenset(found) for place, found in names.items()}


def find_image_columns(table: Table, root: Path, files: Mapping[str, frozenset[str]]) -> Iterator[ImageColumn]:
    """Yield the columns whose cells are image files, with what makes paths of them; one may fit images and their masks.

    Parameters
    ----------
    table : Table
        The table.
    root : Path
        Data folder.
    files : mapping
        Names of the images in each folder, as `list_image_files` returns them.
    """
    for column in table.columns:
        cells = {row[column].replace("\\", "/") for row in table.rows} - {""}
        if len(cells) < _LEAST_FILES or is_image_file(column):
            continue
        if find_kind_of_files(cells, root) == "image files":
            yield ImageColumn(column)
            continue
        for place, names in files.items():
            if _are_among(cells, names):
                yield ImageColumn(column, place)
                continue
            endings = {name[name.index(".") :] for name in names}
            fitting = [ending for ending in sorted(endings) if _are_among({cell + ending for cell in cells}, names)]
            if fitting:
                yield ImageColumn(column, place, fitting[0])


def _are_among(cells: Collection[str], names: Collection[str]) -> bool:
    found = sum(cell in names for cell in cells)
    return found >= _LEAST_FILES and found > _LEAST_SHARE * len(cells)


def _describe(path: Path, table: Table, images: Sequence[ImageColumn]) -> str:
    """Return the settings that name a table and its columns; what may point to a person is left for the reader to fill in."""
    shown = show_columns(table.columns, rows=table.rows)
    settings = [f'index = "{path.name}"' if is_usual_name(path.stem) else f"index to its name ({path.suffix})"]
    masks = [one for one in images if one.names_masks]
    for key, columns in (("image", [one for one in images if one not in masks]), ("label", masks)):
        if columns:
            first = columns[0]
            plain = shown[first.name] == first.name and _may_show(first)
            settings.append(f'{key} = "{first.pattern}"' if plain else f"{key} to the column with its files")
    return f"A table names image files that are there: if it is the index, set {', '.join(settings)} in [data]."


def _may_show(column: ImageColumn) -> bool:
    folders = filter(None, column.folder.split("/"))
    return all(map(is_shown_folder, folders)) and column.ending.lower() in ("", *NIFTI_SUFFIXES, *IMAGE_SUFFIXES)
