"""Resolver of index rows that name DICOM: the series or objects of a folder that a row means, and the volume of a series."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.dicom.own_predictions import is_own_prediction
from medfl.data.dicom.select import COLUMN_KEYS, KEY_ALIASES, image_conditions, parse_select
from medfl.data.dicom.shown import shown_values
from medfl.data.findings import Finding
from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.file_facts import IndexedFile
from medfl.data.index.file_index import FileIndex
from medfl.data.layouts.dicom_objects import DicomObjects
from medfl.data.layouts.image_selection import ImageSelection, other_images_error, unfulfilled_error
from medfl.data.layouts.label_matching import drop_copies
from medfl.data.layouts.object_sorting import series_key, sort_objects
from medfl.data.layouts.parts_beside import PartsBeside
from medfl.data.layouts.series_faults import fault_error
from medfl.data.layouts.sources import NIFTI_SUFFIXES
from medfl.data.prediction_marks import predicted_label_error
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.study.image_conditions import ImageCondition
from medfl.study.task import Modality

SELECT_COLUMN = "select"  # column with several conditions at once
_SERIES_KEY, _OBJECT_KEY = "SeriesInstanceUID", "sop_instance"
SELECTING_COLUMNS = (*COLUMN_KEYS, SELECT_COLUMN, "series_uid")  # as they are written; the case of letters does not count
_COLUMNS = {alias: key for alias, key in KEY_ALIASES.items() if key in COLUMN_KEYS} | {
    **{key.casefold(): key for key in SELECTING_COLUMNS},
    "series_uid": _SERIES_KEY,
}


def is_read_as_dicom(path: Path) -> bool:
    """Return whether what a cell names, a file or a folder, is read as DICOM if it is readable at all."""
    return not path.name.lower().endswith((*NIFTI_SUFFIXES, *IMAGE_SUFFIXES))


def get_selecting_cells(row: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the cells of a row that choose something of DICOM, by the key they stand for."""
    cells = [(_COLUMNS.get(name.casefold(), ""), cell) for name, cell in row.items() if cell]
    return [(key, cell) for key, cell in cells if key]


def names_series(row: Mapping[str, str]) -> bool:
    """Return whether a row says which series is meant."""
    return any(key == _SERIES_KEY for key, _ in get_selecting_cells(row))


def parse_selection(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the columns of a row choose, one text a channel; empty when they choose nothing.

    A cell with several values joined by ``|`` stands for as many channels. Columns are `medfl.data.dicom.select.COLUMN_KEYS`,
    ``series_uid``, and ``select``, whose cells hold conditions such as ``EchoTime=10; orientation=axial``.

    Raises
    ------
    DataError
        ``INDEX-SELECT`` when cells differ in the number of channels, or a value is not allowed.
    """
    columns = [(key, [part.strip() for part in cell.split("|")]) for key, cell in get_selecting_cells(row)]
    counts = {len(values) for _, values in columns if len(values) > 1}
    if len(counts) > 1:
        what = "cells of one row name different numbers of channels."
        raise DataError("INDEX-SELECT", what, "Give one value for all channels, or one for each, joined by |.")
    channels = []
    for channel in range(max(counts, default=1)):
        picked = [(key, values[channel if len(values) > 1 else 0]) for key, values in columns]
        channels.append("; ".join(value if key == SELECT_COLUMN else f"{key}={value}" for key, value in picked))
        parse_select(channels[-1])
    return tuple(channels) if any(channels) else ()


@dataclass(frozen=True)
class DicomResolver:
    """Finds the DICOM files that the rows of an index mean.

    Parameters
    ----------
    modality : str
        Modality of the study: what else lies in a folder is passed over if there is an image of it.
    site_data : SiteData
        Settings by which the site's data is read.
    index : FileIndex
        Index of the site.
    selection : ImageSelection
        Images that are meant.
    """

    modality: Modality
    site_data: SiteData
    index: FileIndex
    selection: ImageSelection
    _folders: dict[Path, tuple[DicomObjects, dict[str, IndexedFile]]] = field(default_factory=dict)  # rows often share one

    @cached_property
    def _beside(self) -> PartsBeside:
        return PartsBeside(self.index)

    def resolve_image(self, paths: Sequence[Path], row: Mapping[str, str]) -> Source:
        """Return the image that a row means.

        Parameters
        ----------
        paths : sequence of Path
            Folders or DICOM files, one for all channels or one for each.
        row : mapping of str to str
            The row.

        Raises
        ------
        DataError
            ``IMG-MISSING``, ``IMG-FORMAT``, ``DCM-NONE``, ``DCM-SERIES``, ``DCM-READ``, ``DD-MISSING`` or ``INDEX-SELECT``.
        """
        channels = parse_selection(row)
        if len(paths) == 1:
            return self._select_files(paths[0], channels)
        parts = [self._select_files(path, ()) for path in paths]
        if len(channels) > 1 and len(channels) != len(parts):
            raise DataError("INDEX-SELECT", "a row names different numbers of images and channels.", "Name one for each.")
        texts = channels if len(channels) > 1 else (channels or ("",)) * len(parts)
        uids = [next(iter(self._get_objects(path)[0].series)) for path in paths]
        named = tuple(f"{_SERIES_KEY}={uid}" + (f"; {text}" if text else "") for uid, text in zip(uids, texts, strict=True))
        return Source.of_files(list(dict.fromkeys(file for part in parts for file in part.files)), named)

    def resolve_label(self, path: Path) -> Source:
        """Return the DICOM-SEG, RTSTRUCT or picture of a mask that a cell names.

        Raises
        ------
        DataError
            ``LBL-MISSING``, ``LBL-SEVERAL``, ``LBL-PREDICTED``, ``DCM-READ``, ``IMG-FORMAT`` or ``DCM-NONE``.
        """
        if not path.is_dir():
            item = self._get_readable(path, "label")
            if not self.site_data.allow_predictions and is_own_prediction(item.header):
                raise predicted_label_error()
            return Source.of_files([item])
        found = sort_objects(self.index.tree(path), self.modality, self.site_data)
        single = {label.path for label in drop_copies(found.labels)}
        drawn = [item for item in found.label_files if item.path in single]
        if not drawn and found.predicted_labels:
            raise predicted_label_error()
        if not drawn:
            what = "the folder of the label holds no DICOM-SEG and no RTSTRUCT."
            raise DataError("LBL-MISSING", what, "Check the index.")
        if len(drawn) > 1:
            what = f"the folder of the label holds {len(drawn)} DICOM-SEG and RTSTRUCT objects."
            raise DataError("LBL-SEVERAL", what, "Name the file that is meant in the index.")
        return Source.of_files(drawn)

    def find_damages(self, names: Iterable[str]) -> tuple[Path, ...]:
        """Return the files for which series of folders, as a row names them, are not whole."""
        paths = (self.index.root / name.replace("\\", "/") for name in names)
        objects = [self._folders[path][0] for path in paths if path in self._folders]
        return tuple(dict.fromkeys(damage for found in objects for uid in found.series for damage in found.series_damages(uid)))

    def warnings(self) -> list[Finding]:
        """Return warnings about files of the named folders that cannot be read and are no part of a series that is known."""
        stray = sum((found.faults.get("", Counter()) for found, _ in self._folders.values()), Counter[str]())
        stray["damaged"] += self._beside.stray
        return DicomObjects(faults=defaultdict(Counter, {"": stray})).warnings()

    def _select_files(self, path: Path, channels: Sequence[str]) -> Source:
        """Return the files that are meant of a folder, and what is to be chosen of them later."""
        found, objects = self._get_objects(path)
        conditions = [parse_select(text) for text in channels]
        uids = list(dict.fromkeys(one[_SERIES_KEY] for one in conditions if _SERIES_KEY in one))
        single = [one[_OBJECT_KEY] for one in conditions if _OBJECT_KEY in one]
        every = {**found.set_aside, **found.series}
        _require_present(all(uid in every for uid in uids), "series_uid")
        _require_present(all(uid in objects for uid in single), _OBJECT_KEY)
        items = [item for uid in uids or found.series for item in every[uid]]
        if single and len(single) == len(conditions):
            items = [objects[uid] for uid in dict.fromkeys(single)]
        items = self._pick_meant(items, [image_conditions(one) for one in conditions], named=bool(uids or single))
        series = {series_key(item) for item in items}
        if len(series) > 1 and sum(_SERIES_KEY in one for one in conditions) < max(len(conditions), 1):
            what = f"the folder holds {len(series)} series."
            raise DataError("DCM-SERIES", what, "Name one in the column 'series_uid', or several joined by | as channels.")
        if not single and (problem := next(filter(None, map(found.series_error, sorted(series))), None)):
            raise problem
        return Source.of_files(items, tuple(channels))

    def _pick_meant(
        self, items: Sequence[IndexedFile], conditions: Sequence[Sequence[ImageCondition]], *, named: bool
    ) -> list[IndexedFile]:
        """Return the images of some series that a row means, for any of its channels, and the study and the site as well."""
        by_series: dict[str, list[IndexedFile]] = defaultdict(list)
        for item in items:
            by_series[series_key(item)].append(item)
        meant = []
        for key, own in by_series.items():
            picked = [self.selection.pick(own, row, named=named) for row in conditions or [()]]
            if problem := fault_error(Counter(selection=max(doubtful for _, doubtful in picked))):
                raise problem
            paths = {item.path_text for kept, _ in picked for item in kept}
            meant += [item for item in by_series[key] if item.path_text in paths]
        if items and not meant:
            for condition in dict.fromkeys(one for row in conditions for one in row):
                if not any(condition.matches(shown_values(item.header, condition.keyword)) for item in items):
                    raise unfulfilled_error(condition.keyword)
            raise other_images_error()
        return meant

    def _get_objects(self, path: Path) -> tuple[DicomObjects, dict[str, IndexedFile]]:
        if path not in self._folders:
            found = self._read_objects(path)
            items = (item for listed in (*found.set_aside.values(), *found.series.values()) for item in listed)
            self._folders[path] = found, {item.text("SOPInstanceUID"): item for item in items}
        return self._folders[path]

    def _read_objects(self, path: Path) -> DicomObjects:
        if not path.is_dir():
            item = self._get_readable(path, "image")
            return DicomObjects(defaultdict(list, {series_key(item): [item]}))  # its reader raises if it is no image
        items, others = self.index.tree(path), self.index.others(path)
        others = [*others, *self._beside.find(path)]
        found = sort_objects(items, self.modality, self.site_data, others)
        self.selection.restore_localizers(found)
        if not found.series:
            found = sort_objects(items, None, self.site_data, others)
        found.require_images()
        if not found.series:
            raise DataError("IMG-MISSING", "the folder of the image holds no DICOM image.", "Check the index.")
        return found

    def _get_readable(self, path: Path, what: str) -> IndexedFile:
        item = self.index.get(path)
        if item is None or item.kind == "media":
            fix = "Use DICOM, NIfTI, PNG, TIFF or JPEG."
            raise DataError("IMG-FORMAT", f"the {what} is of a kind that medfl does not read.", fix)
        if item.kind == "headerless" and not self.site_data.allow_headerless:
            fix = "Set allow-headerless = true in the table 'data' of site.toml."
            raise DataError("DCM-NONE", f"the {what} looks like DICOM without the 128-byte header.", fix)
        if item.kind in ("damaged", "unopened"):
            raise DataError("DCM-READ", f"the {what} cannot be read.", "Export it again.")
        return item


def _require_present(there: bool, column: str) -> None:
    if not there:
        raise DataError("INDEX-SELECT", f"what the column '{column}' names is not in the folder.", "Check the cell.")
