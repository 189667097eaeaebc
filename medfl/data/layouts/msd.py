"""Layout `msd`: Medical Segmentation Decathlon, a `dataset.json` with a list of images and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.layouts.columns import is_misspelt
from medfl.data.layouts.entries import Entry, Listing, missing_image_error, missing_label_error
from medfl.data.layouts.json_table import load_json, open_error
from medfl.data.layouts.sources import make_source, require_inside, resolve_below
from medfl.data.layouts.value_names import ValueNames, parse_value_names
from medfl.data.spelling import fold_column, fold_name
from medfl.data.split_names import parse_split_name
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from medfl.system.text import plural

DATASET_FILE = "dataset.json"
_LABELS = "labels"
# what it is called elsewhere, without signs between words
_OTHER_NAMES_TEXT = (
    "classes classnames classlabels labelnames labeldict labelmap labelmapping labelvalues names segments tissues"
)
_OTHER_NAMES_OF_LABELS = frozenset(_OTHER_NAMES_TEXT.split())


def is_msd(root: Path) -> bool:
    """Return whether a folder has a ``dataset.json``; reading it shows what is wrong with it."""
    return (root / DATASET_FILE).is_file()


def list_msd(site: Site, study: Study) -> Listing:
    """List the training cases of a ``dataset.json``. It knows no patients: one image counts as one.

    Raises
    ------
    DataError
        ``INDEX-MISSING``, ``INDEX-FORMAT``, or ``LAYOUT-TASK`` for a classification task.
    """
    require_segmentation(study)
    document = read_dataset_json(site.root)
    rows, names = document.get("training", []), read_label_names(document)
    if not isinstance(rows, list):
        what = f"'training' of {DATASET_FILE} is no list."
        raise DataError("INDEX-FORMAT", what, 'Write it as [{"image": "...", "label": "..."}, ...].')
    listed = [row for row in rows if isinstance(row, dict)]
    pairs = [(str(row.get("image", "")), str(row.get("label", ""))) for row in listed]
    stems = Counter(_stem(image) for image, _ in pairs)
    entries = [
        Entry(
            image,
            _stem(image) if stems[_stem(image)] == 1 else image,  # the case, as nnU-Net calls it
            resolve_image(site.root, [image]),
            resolve_mask(site.root, label, names),
            image_files=(site.root / image,),
            label_files=(site.root / label,),
        )
        for image, label in sorted(pairs)
        if not Path(image).name.startswith("._")  # what macOS leaves in archives
    ]
    return Listing(
        tuple(entries),
        patient_ids=False,
        warnings=(*missing_case_warnings(document, len(entries)), *_unused_row_warnings(document)),
        channels=read_channel_names(document),
    )


def _stem(image: str) -> str:
    return Path(image).name.removesuffix(".gz").removesuffix(".nii")


def missing_case_warnings(document: dict[str, Any], count: int) -> tuple[Finding, ...]:
    """Return a warning when a ``dataset.json`` states more training cases, as `numTraining`, than there are."""
    stated = document.get("numTraining")
    if not isinstance(stated, int) or stated <= count:
        return ()
    what = f"{DATASET_FILE} states {stated} training cases, and {count} are here."
    return (Finding.warning("LAYOUT-FEWER", what, "Copy the rest, or correct numTraining."),)


def _unused_row_warnings(document: Mapping[str, Any]) -> list[Finding]:
    """Return warnings about rows that are no objects, and about lists of labelled cases other than `training`."""
    warnings = []
    if count := sum(not isinstance(row, dict) for row in document.get("training", [])):
        what = f"{plural(count, 'row')} of 'training' in {DATASET_FILE} left out: no object with 'image' and 'label'."
        warnings.append(Finding.warning("LAYOUT-ROWS", what, 'Write each as {"image": "...", "label": "..."}.'))
    others = {key: rows for key, rows in document.items() if key != "training" and isinstance(rows, list)}
    labelled = {key: sum(isinstance(row, dict) and bool(row.get("label")) for row in rows) for key, rows in others.items()}
    known = [f"'{key}'" for key, count in labelled.items() if count and parse_split_name(key)]
    if count := sum(labelled.values()):
        where = " and ".join(known) or "another list than 'training'"
        what = f"{DATASET_FILE} lists {plural(count, 'labelled case')} under {where}, not used: medfl reads 'training' alone."
        fix = (
            "Move them to 'training'; to keep the splits, write an index.csv with the columns image, label, patient and split."
        )
        warnings.append(Finding.warning("LAYOUT-ROWS", what, fix))
    return warnings


def require_segmentation(study: Study) -> None:
    """Refuse a study about classes.

    Raises
    ------
    DataError
        ``LAYOUT-TASK``.
    """
    if study.task.kind != "segmentation":
        raise DataError("LAYOUT-TASK", "this layout has masks, the study is about classes.", "Write an index.csv with classes.")


def read_dataset_json(root: Path) -> dict[str, Any]:
    """Read the ``dataset.json`` of a folder.

    Raises
    ------
    DataError
        ``INDEX-MISSING``, ``INDEX-PATH`` or ``INDEX-FORMAT``.
    """
    require_inside(root, root / DATASET_FILE)
    try:
        if not is_msd(root):  # a pipe would never end
            raise FileNotFoundError
        document = load_json(root / DATASET_FILE)
    except OSError as error:
        raise open_error(error, DATASET_FILE, "Set 'layout' in site.toml.") from None
    except (ValueError, RecursionError):
        what = f"{DATASET_FILE} is not valid JSON, or names something twice."
        raise DataError("INDEX-FORMAT", what, "Write it again.") from None
    if not isinstance(document, dict):
        raise DataError("INDEX-FORMAT", f"{DATASET_FILE} is not a JSON object.", "Write it again.")
    return document


def read_channel_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the channels by ``{"0": "T1", "1": "FLAIR"}``, in the order of their numbers."""
    channels = document.get("channel_names") or document.get("modality")
    if not isinstance(channels, dict):
        return ()
    numbered = all(str(key).isdigit() for key in channels)
    return tuple(str(channels[key]).strip() for key in (sorted(channels, key=int) if numbered else channels))


def read_label_names(document: dict[str, Any]) -> ValueNames:
    """Return what the values of masks mean by the ``labels`` of a ``dataset.json``; nothing when it has none.

    Raises
    ------
    DataError
        ``LBL-REGIONS`` or ``INDEX-FORMAT``.
    """
    if _LABELS in document:
        return parse_value_names(document[_LABELS], DATASET_FILE)
    for key in document:
        if fold_name(key) == _LABELS or is_misspelt(key, _LABELS) or fold_column(key) in _OTHER_NAMES_OF_LABELS:
            fix = f'Call it {_LABELS!r}, and write it as {{"background": 0, "liver": 1}}.'
            raise DataError("INDEX-FORMAT", f"{DATASET_FILE} has {key!r}, and not {_LABELS!r}.", fix)
    return ()


def resolve_image(root: Path, names: list[str]) -> Source | DataError:
    """Return the image that a ``dataset.json`` names, one file a channel."""
    try:
        return (
            make_source(tuple(resolve_below(root, name) for name in names)) if all(names) and names else missing_image_error()
        )
    except DataError as error:
        return error


def resolve_mask(root: Path, name: str, names: ValueNames) -> Source | DataError:
    """Return the mask that a ``dataset.json`` names."""
    try:
        return make_source((resolve_below(root, name),), "LBL-MISSING", names) if name else missing_label_error()
    except DataError as error:
        return error
