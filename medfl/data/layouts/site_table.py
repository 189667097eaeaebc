"""The table of a site, whichever layout it has, described."""

from __future__ import annotations

from dataclasses import replace

from medfl.data.layouts.case_table import CASE_LAYOUTS
from medfl.data.layouts.csv import find_index_files
from medfl.data.layouts.patient_table import patient_column, patient_table_path
from medfl.data.layouts.sources import require_inside
from medfl.data.layouts.table import pattern_columns, read_table
from medfl.data.layouts.table_description import TableDescription, describe_table
from medfl.errors import DataError
from medfl.site import Site


def describe_site_table(site: Site, layout: str) -> TableDescription | None:
    """Describe ``participants.tsv`` of BIDS, else the index of the site; None where there is none that can be read.

    Parameters
    ----------
    site : Site
        Names the table and its columns.
    layout : str
        Name of the layout, empty for none that fits.
    """
    bids = layout == "bids"
    path = patient_table_path(site, layout)
    try:
        if not path.is_file() and not bids:
            names = find_index_files(site)
            path = site.root / names[0] if len(names) == 1 else path
        if not path.is_file():
            return None
        require_inside(site.root, path)
        table = read_table(path, site.data.patient, site.data.label)
    except (DataError, OSError):  # who needs the table says what is wrong with it
        return None
    try:
        patient = patient_column(table, site, "sub-" if bids else "") if layout != "csv" else site.data.patient
    except DataError:
        patient = ""
    parts = site.data.image.split(",") if layout == "csv" else []
    images = [column.strip() for part in parts for column in pattern_columns(part)]
    found = describe_table(
        table, site.root, patient=patient, label=site.data.label, image=images, labels_elsewhere=layout not in ("csv", "")
    )
    return replace(found, label="", label_candidates=()) if layout in CASE_LAYOUTS else found  # a column of theirs is no label
