"""Names that a data set gives itself: classes, channels and modality; and the label values that occur."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medfl.data.cases import Source
from medfl.data.dicom.parsing import parse_file
from medfl.data.image_files import read_mask_image
from medfl.data.layouts import msd
from medfl.data.layouts.bids_names import DESCRIPTION_FILE, PARTICIPANTS_FILE
from medfl.data.layouts.csv import index_name
from medfl.data.layouts.file_spellings import find_table
from medfl.data.layouts.msd import DATASET_FILE, read_dataset_json, read_label_names
from medfl.data.layouts.row_conditions import filter_rows
from medfl.data.layouts.table import get_column, read_table
from medfl.data.library_output import silence_libraries
from medfl.data.nifti import read_nifti_values
from medfl.data.spelling import fold_name, is_blank
from medfl.errors import DataError
from medfl.site import Site
from medfl.study.task import Modality

_MAX_CLASS_TEXTS = 20  # different texts, beyond which a column is no class
_SAMPLE_MASKS = 30  # masks that are opened to see what they hold
_WHITE = 255  # white: how paint programs mark
_MAX_VALUES = 50  # beyond, the file is no mask
_MAX_LENGTH = 40  # characters of a name


def read_index_classes(site: Site) -> tuple[str, ...]:
    """Return the different class texts of the site's index, sorted; none when its label column holds something else."""
    try:
        index, bids = site.root / index_name(site), find_table(site.root, PARTICIPANTS_FILE)
        table = read_table(index) if index.is_file() else read_table(bids)
        texts = [text.strip() for text in get_column(filter_rows(table, site.data.where), site.data.label)]
    except (DataError, OSError):
        return ()
    different = {fold_name(text): text for text in texts if not is_blank(text)}
    if len(different) > min(_MAX_CLASS_TEXTS, max(2, len(texts) // 2)) or any("/" in t or Path(t).suffix for t in different):
        return ()
    return tuple(sorted(different.values(), key=lambda text: (not text.isdigit(), len(text) if text.isdigit() else 0, text)))


def read_stated_modality(root: Path) -> tuple[Modality, str] | None:
    """Return the modality that a data set states of itself, and where; none when it does not."""
    document = _read_dataset_json(root)
    words = " ".join([str(document.get("modality", "")), *read_channel_names(root)]).upper()
    if "CT" in words.replace('"', " ").split():
        return "CT", f"{DATASET_FILE} says so"
    if any(word in words for word in ("MR", "T1", "T2", "FLAIR", "ADC")):
        return "MR", f"{DATASET_FILE} says so"
    if (root / DESCRIPTION_FILE).is_file():
        return "MR", "the folder is a BIDS data set with anatomical images"
    return None


def read_declared_modality(root: Path) -> Modality | None:
    """Return the modality that the key "modality" of a ``dataset.json`` names plainly; none where there is any doubt."""
    declared = _read_dataset_json(root).get("modality", "")
    words = {str(word).strip().upper() for word in (declared.values() if isinstance(declared, dict) else [declared])}
    kinds: dict[str, Modality] = {"CT": "CT", "MR": "MR", "MRI": "MR"}
    found = {kinds.get(word) for word in words}
    return found.pop() if len(found) == 1 else None


def read_channel_names(root: Path) -> tuple[str, ...]:
    """Return the names of the channels that a ``dataset.json`` states."""
    return msd.read_channel_names(_read_dataset_json(root))


def infer_mask_classes(site: Site, masks: Sequence[Source]) -> tuple[tuple[str, ...], str]:
    """Return the classes that masks mark, the background first, and where the names come from, empty for nowhere."""
    if site.classes:
        return site.classes, "site.toml"
    for names, where_from in (
        (_read_stated_labels(site.root), DATASET_FILE),
        (_source_names(masks), "the data"),
        (_read_dicom_label_names(masks, site), "the DICOM labels"),
    ):
        if names:
            return ("background", *names), where_from
    sample = _sample_masks(masks)
    highest = _highest_value(sample)
    count = 1 if highest == _WHITE else highest
    if not 0 < count <= _MAX_VALUES:
        return ("background", "marked"), ""
    names = ("marked",) if count == 1 else tuple(f"label {value}" for value in range(1, count + 1))
    return ("background", *names), f"the values in {len(sample)} of {len(masks)} masks"


def _read_dataset_json(root: Path) -> dict[str, Any]:
    try:
        return read_dataset_json(root)
    except DataError:
        return {}


def _read_stated_labels(root: Path) -> tuple[str, ...]:
    try:
        names = read_label_names(_read_dataset_json(root))
    except DataError:  # reading the cohort reports it
        return ()
    return _unique_names(_clean_name(name) for value, name in names if value > 0)


def _source_names(masks: Sequence[Source]) -> tuple[str, ...]:
    return _unique_names(_clean_name(name) for source in masks for value, name in sorted(source.names) if value > 0)


def _read_dicom_label_names(masks: Sequence[Source], site: Site) -> tuple[str, ...]:
    """Return the segment labels and ROI names of DICOM labels, by the site's own table of names."""
    table = {theirs.casefold(): ours for theirs, ours in site.data.label_names}
    found: list[str] = []
    for source in _sample_masks([mask for mask in masks if mask.kind == "dicom"]):
        try:
            with silence_libraries():
                data = parse_file(source.paths[0], stop_before_pixels=True, force=site.data.allow_headerless)
            found += [str(segment.SegmentLabel) for segment in data.get("SegmentSequence") or ()]
            found += [str(roi.ROIName) for roi in data.get("StructureSetROISequence") or ()]
        except Exception:  # reading the case shows what is wrong
            continue
    return _unique_names(table.get(name.casefold(), _clean_name(name)) for name in found)


def _unique_names(names: Iterable[str]) -> tuple[str, ...]:
    kept = {name.casefold(): name for name in names if name and name.casefold() != "background"}
    return tuple(kept.values())


def _clean_name(name: str) -> str:
    return " ".join("".join(sign for sign in name if sign.isprintable()).split())[:_MAX_LENGTH]


def _sample_masks(masks: Sequence[Source]) -> Sequence[Source]:
    return masks[:: max(1, -(-len(masks) // _SAMPLE_MASKS))]


def _highest_value(masks: Sequence[Source]) -> int:
    """Return the highest whole number that a few masks hold; 0 when none can be read."""
    highest = 0
    for source in masks:
        try:
            with silence_libraries():
                array = _read_values(source)
        except Exception:  # reading the case shows what is wrong
            continue
        if array.size and array.ndim >= 2 and np.isfinite(array).all() and (array == np.round(array)).all():
            highest = max(highest, int(array.max()))
    return highest


def _read_values(source: Source) -> Any:
    if source.kind == "nifti":
        return read_nifti_values(source.paths[0])
    if source.kind == "image":
        return read_mask_image(source.paths[0])
    return np.zeros(0)
