"""Used tables: those of a data folder that its layout reads, and a warning about all others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from medfl.data.findings import Finding
from medfl.data.layouts.bids_names import DESCRIPTION_FILE, PARTICIPANTS_FILE
from medfl.data.layouts.case_table import CASE_LAYOUTS
from medfl.data.layouts.columns import ANNOTATED_COLUMN, SPLIT_COLUMN, has_column
from medfl.data.layouts.csv import index_name
from medfl.data.layouts.entries import CASE_COLUMN
from medfl.data.layouts.likely_index import advise_on_likely_index
from medfl.data.layouts.msd import DATASET_FILE
from medfl.data.layouts.patient_table import patient_column, patient_table_path
from medfl.data.layouts.shown_names import is_usual_name
from medfl.data.layouts.table import Table, read_table
from medfl.data.layouts.table_files import WORKBOOKS, list_tables, table_kind
from medfl.errors import DataError
from medfl.site import Site
from medfl.system.text import plural

_SITE_FILE = "site.toml"
_READS = {
    "csv": "its index alone",
    **dict.fromkeys(CASE_LAYOUTS, "dataset.json, and the columns 'case', 'patient', 'split' and 'annotated' of an index"),
    "bids": f"{PARTICIPANTS_FILE} with the column 'participant_id', and the tables of the values of masks",
    "dicom": "an index with the column 'patient'",
    "folders": "an index with the column 'patient'",
}


def find_used_tables(site: Site, layout: str) -> frozenset[str]:
    """Return the paths of the tables and descriptions that a layout reads, but for those of the values of masks.

    A table that cannot be read counts as used: who needs it says what is wrong with it.

    Parameters
    ----------
    site : Site
        The hospital.
    layout : str
        Name of its layout; empty for none that is known.
    """
    query = site.pacs.query if site.pacs else None
    used = [site.folder / name for name in (_SITE_FILE, query and query.patients, query and query.accessions) if name]
    if layout in CASE_LAYOUTS:
        used.append(site.root / DATASET_FILE)
    elif layout == "bids":
        used.append(site.root / DESCRIPTION_FILE)
    table = site.root / index_name(site) if layout in ("csv", "") else patient_table_path(site, layout)
    if layout in ("csv", "") or _is_read(table, site, layout):
        used.append(table)
    return frozenset(map(os.fspath, used))


def _is_read(path: Path, site: Site, layout: str) -> bool:
    try:
        table = read_table(path, site.data.patient, site.data.label)
    except (DataError, OSError):
        return True
    if any(has_column(table.columns, name) for name in (SPLIT_COLUMN, ANNOTATED_COLUMN)):
        return True
    if layout in CASE_LAYOUTS:
        return all(has_column(table.columns, name) for name in (CASE_COLUMN, site.data.patient))
    return _names_patients(table, site, layout)


def _names_patients(table: Table, site: Site, layout: str) -> bool:
    try:
        return has_column(table.columns, patient_column(table, site, "sub-" if layout == "bids" else ""))
    except DataError:
        return False


def unused_table_warning(site: Site, layout: str, used: Collection[str]) -> Finding | None:
    """Return a warning about tables in the data folder itself that a layout does not read: they may say who is who.

    Parameters
    ----------
    site : Site
        The hospital.
    layout : str
        Name of its layout.
    used : collection of str
        Paths of the tables that were read.

    Raises
    ------
    OSError
        When the folder cannot be listed.
    """
    tables = [path for path in list_tables(site.root, layout) if os.fspath(path) not in used]
    if not tables or layout not in _READS:
        return None
    verb = "is" if len(tables) == 1 else "are"
    named = f"{plural(len(tables), 'table')} in the data folder {verb} not read: {_show_names(tables, site.root)}."
    what = f"{named} Layout {layout} reads {_READS[layout]}."
    into = PARTICIPANTS_FILE if layout == "bids" else "the index (data.index in site.toml)"
    fix = (
        advise_on_index(site, layout, used)
        or f"What a table says of patients, classes or splits belongs in {into}; move tables of no use out of the folder."
    )
    if any(table_kind(path.name) in WORKBOOKS for path in tables):
        fix = f"Save workbooks as CSV. {fix}"
    return Finding.warning("LAYOUT-TABLE", what, fix)


def advise_on_index(site: Site, layout: str, used: Collection[str]) -> str:
    """Return what to set if a table names images that are there; nothing where the layout says itself where they are.

    Parameters
    ----------
    site : Site
        The hospital.
    layout : str
        Name of its layout; empty for none that is known.
    used : collection of str
        Paths of tables that are not meant.
    """
    if layout not in ("folders", ""):
        return ""
    tables = [path for path in list_tables(site.root, layout) if os.fspath(path) not in used]
    return advise_on_likely_index(site.root, tables)


def _show_names(tables: Collection[Path], root: Path) -> str:
    """Return the names of tables that may be repeated, and how many others there are by their kind."""
    kinds = {path: table_kind(path.name) for path in tables}
    plain = [path for path, kind in kinds.items() if is_usual_name(path.name[: -len(kind)])]
    others = Counter(kind for path, kind in kinds.items() if path not in plain)
    counts = [f"{plural(count, 'other file' if plain else 'file')} {kind}" for kind, count in sorted(others.items())]
    return ", ".join([*(path.relative_to(root).as_posix() for path in plain), *counts])
