"""Layout `msd`: Medical Segmentation Decathlon (`dataset.json` with a list), and nnU-Net raw (`dataset.json` and names)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from medfl.data.cases import Source
from medfl.data.layouts.entries import Entry, Listing, no_image, no_label
from medfl.data.layouts.sources import below, source_of
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

FILE = "dataset.json"
_NNUNET = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def list_msd(site: Site, study: Study) -> Listing:
    """List the training cases of a ``dataset.json``. It knows no patients: one image counts as one.

    Raises
    ------
    DataError
        ``INDEX-MISSING``, ``INDEX-FORMAT``, or ``LAYOUT-TASK`` for a classification task.
    """
    if study.task.kind != "segmentation":
        raise DataError("LAYOUT-TASK", "this layout has masks, the study is about classes.", "Write an index.csv with classes.")
    document = _read(site.root / FILE)
    if document.get("training"):
        entries = _decathlon(site.root, document["training"])
    else:
        entries = _nnunet(site.root, str(document.get("file_ending", ".nii.gz")))
    return Listing(tuple(entries), patient_ids=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError:
        raise DataError("INDEX-MISSING", f"the data folder has no {FILE}.", "Set 'layout' in site.toml.") from None
    except ValueError:
        raise DataError("INDEX-FORMAT", f"{FILE} is not valid JSON.", "Write it again.") from None
    if not isinstance(document, dict):
        raise DataError("INDEX-FORMAT", f"{FILE} is not a JSON object.", "Write it again.")
    return document


def _decathlon(root: Path, rows: Any) -> list[Entry]:
    wanted = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    pairs = [(str(row.get("image", "")), str(row.get("label", ""))) for row in wanted]
    return [
        Entry(image, image, _source(root, image, "IMG-MISSING"), _source(root, label, "LBL-MISSING"))
        for image, label in sorted(pairs)
        if not Path(image).name.startswith("._")  # what macOS leaves in archives
    ]


def _source(root: Path, name: str, code: str) -> Source | DataError:
    try:
        return source_of((below(root, name),), code) if name else no_label() if code.startswith("LBL") else no_image()
    except DataError as error:
        return error


def _nnunet(root: Path, ending: str) -> list[Entry]:
    channels: dict[str, list[Path]] = {}
    for path in sorted((root / "imagesTr").glob(f"*{ending}")):
        match = _NNUNET.match(path.name.removesuffix(ending))
        if match and not path.name.startswith("."):
            channels.setdefault(match["case"], []).append(path)
    names = {p.name.removesuffix(ending) for p in (root / "labelsTr").glob(f"*{ending}") if not p.name.startswith(".")}
    entries = []
    for name in sorted(set(channels) | names):
        label = root / "labelsTr" / f"{name}{ending}"
        image = source_of(tuple(channels[name])) if name in channels else no_image()
        entries.append(Entry(name, name, image, source_of((label,)) if name in names else no_label()))
    return entries
