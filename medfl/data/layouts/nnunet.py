"""Layout `nnunet`: raw data of nnU-Net v2 (and v1), `imagesTr/<case>_<channel><ending>` and `labelsTr/<case><ending>`.

The format is described in nnU-Net's documentation/dataset_format.md.
"""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any

from medfl.data.cases import Source
from medfl.data.layouts.entries import Entry, Listing, missing_image_error, missing_label_error
from medfl.data.layouts.msd import (
    DATASET_FILE,
    missing_case_warnings,
    read_channel_names,
    read_dataset_json,
    read_label_names,
    require_segmentation,
    resolve_image,
    resolve_mask,
)
from medfl.data.layouts.sources import make_source
from medfl.data.layouts.value_names import ValueNames
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_IMAGE_NAME = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
_DEFAULT_ENDING = ".nii.gz"


def is_nnunet(root: Path) -> bool:
    """Return whether a folder is raw data of nnU-Net."""
    try:
        document = read_dataset_json(root)
    except DataError:
        return False
    if "channel_names" not in document and "modality" not in document:
        return False
    ending = _file_ending(document)
    return isinstance(document.get("dataset"), dict) or any((root / "imagesTr").glob(f"[!.]*_0000{ending}"))


def list_nnunet(site: Site, study: Study) -> Listing:
    """List the training cases. The format knows no patients: one case counts as one.

    Raises
    ------
    DataError
        ``INDEX-MISSING``, ``INDEX-FORMAT``, ``LBL-REGIONS`` for labels that are regions of several values, or ``LAYOUT-TASK``
        for a classification task.
    """
    require_segmentation(study)
    document = read_dataset_json(site.root)
    channels, names = len(read_channel_names(document)), read_label_names(document)
    listed = document.get("dataset")
    if isinstance(listed, dict):
        entries = [_make_entry(site.root, case, row, channels, names) for case, row in sorted(listed.items())]
    else:
        entries = _find_entries(site.root, _file_ending(document), channels, names)
    warnings = missing_case_warnings(document, len(entries))
    return Listing(tuple(entries), patient_ids=False, warnings=warnings, channels=read_channel_names(document))


def _file_ending(document: dict[str, Any]) -> str:
    return glob.escape(str(document.get("file_ending") or _DEFAULT_ENDING))


def _find_entries(root: Path, ending: str, channels: int, names: ValueNames) -> list[Entry]:
    images: dict[str, dict[int, Path]] = {}
    for path in sorted((root / "imagesTr").glob(f"*{ending}")):
        match = _IMAGE_NAME.match(path.name.removesuffix(ending))
        if match and not path.name.startswith("."):
            images.setdefault(match["case"], {})[int(match["channel"])] = path
    masks = {p.name.removesuffix(ending): p for p in (root / "labelsTr").glob(f"*{ending}") if not p.name.startswith(".")}
    return [
        Entry(case, case, _make_image(images.get(case, {}), channels), _make_mask(masks.get(case), names))
        for case in sorted(set(images) | set(masks))
    ]


def _make_image(files: dict[int, Path], channels: int) -> Source | DataError:
    if not files:
        return missing_image_error()
    expected = channels or len(files)
    if sorted(files) != list(range(expected)):
        what = f"the case has {len(files)} channel file(s), {DATASET_FILE} names {expected}."
        return DataError("IMG-CHANNELS", what, "Add the missing files, numbered from _0000 on.")
    try:
        return make_source(tuple(files[channel] for channel in sorted(files)))
    except DataError as error:
        return error


def _make_mask(path: Path | None, names: ValueNames) -> Source | DataError:
    try:
        return make_source((path,), "LBL-MISSING", names) if path else missing_label_error()
    except DataError as error:
        return error


def _make_entry(root: Path, case: str, row: Any, channels: int, names: ValueNames) -> Entry:
    """Return a case of the list that newer files may have instead of folders."""
    fields = row if isinstance(row, dict) else {}
    listed = fields.get("images")
    images = [str(name) for name in listed] if isinstance(listed, list) else []
    image = resolve_image(root, images)
    if channels and images and len(images) != channels:
        what = f"the case has {len(images)} channel file(s), {DATASET_FILE} names {channels}."
        image = DataError("IMG-CHANNELS", what, f"List one file for each channel in {DATASET_FILE}.")
    return Entry(case, case, image, resolve_mask(root, str(fields.get("label") or ""), names))
