"""Layout `csv`: an index file with one row an image."""

from __future__ import annotations

from pathlib import Path

from medfl.data.cases import Source
from medfl.data.layouts.entries import Entry, Listing, no_label
from medfl.data.layouts.sources import below, source_of
from medfl.data.layouts.table import column_of, columns_in, filled, read_table, where
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

SPLIT = "split"


def is_csv(site: Site) -> bool:
    """Return whether the data folder has an index whose columns give the images."""
    path = site.root / site.data.index
    if not path.is_file():
        return False
    try:
        columns = read_table(path).columns
    except DataError:
        return True  # it is meant to be one, and reading it tells what is wrong
    return all(name in columns for part in _parts(site.data.image) for name in columns_in(part))


def list_csv(site: Site, study: Study) -> Listing:
    """List the images of an index.

    Raises
    ------
    DataError
        ``INDEX-*`` when the index is missing, or a column that the site names is not in it.
    """
    table = where(read_table(below(site.root, site.data.index)), site.data.where)
    images = list(zip(*(filled(table, part, what="image") for part in _parts(site.data.image)), strict=True))
    labels = filled(table, site.data.label, what="label")
    patients = filled(table, site.data.patient, what="patient") if site.data.patient else ["/".join(names) for names in images]
    splits = column_of(table, SPLIT) if SPLIT in table.columns else [""] * len(images)
    masks = study.task.kind == "segmentation"
    entries = [
        Entry(
            key="\n".join(names),
            patient=patient,
            image=_image(site.root, names),
            label=_mask(site.root, label) if masks else label,
            split=split,
        )
        for names, label, patient, split in zip(images, labels, patients, splits, strict=True)
    ]
    return Listing(tuple(entries), patient_ids=bool(site.data.patient))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _image(root: Path, names: tuple[str, ...]) -> Source | DataError:
    if not all(names):
        return DataError("IMG-MISSING", "the index names no image in this row.", "Fill the cell, or remove the row.")
    try:
        return source_of(tuple(below(root, name) for name in names))
    except DataError as error:
        return error


def _mask(root: Path, name: str) -> Source | DataError:
    if not name:
        return no_label()
    try:
        return source_of((below(root, name),), "LBL-MISSING")
    except DataError as error:
        return error
