"""What of a data folder is no part of its layout, or could not be looked into: nothing is left aside without a word."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from medfl.data.dicom.headers import NOT_IMAGES
from medfl.data.index.index import Index
from medfl.data.index.rows import may_be_dicom
from medfl.data.index.walk import Passed, entries, stated
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.objects import sort_objects
from medfl.data.layouts.sources import NIFTI, is_picture
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_FEW = 0.1  # pictures to a DICOM file: a PACS adds previews, which are nobody's images
_WALKED = ("dicom", "folders")  # layouts whose own listing looks into every folder


def not_part(layout: str, site: Site, index: Index) -> DataError | None:
    """Return a warning about files that look like images and that a layout does not look at.

    An index, nnU-Net, Decathlon or BIDS say themselves what belongs to them. A few pictures beside DICOM are no matter.

    Parameters
    ----------
    layout : str
        As `medfl.data.layouts.detect.layout_of` tells it.
    site : Site
        The hospital.
    index : Index
        Of its data folder.

    Raises
    ------
    OSError
        When a folder can not be listed.
    """
    counts = {"dicom": _beside_dicom, "folders": _beside_folders}[layout](site.root, index) if layout in _WALKED else Counter()
    if not counts.total():
        return None
    found = "set" if site.data.layout != "auto" else "found, not set"
    which = " and ".join(f"{count} {kind} file(s)" for kind, count in sorted(counts.items()) if count)
    what = f"layout {layout} ({found}). {which} are not part of it and were not looked at."
    other = "dicom" if counts["DICOM"] else "folders"
    fix = f"If they are your images, set layout = \"{other}\" in the table 'data' of site.toml, or write an index.csv."
    return DataError("LAYOUT-OTHERS", what, fix)


def passed_over(layout: str, site: Site, index: Index, *, missing: bool) -> list[DataError]:
    """Return warnings about folders that could not be looked into.

    Parameters
    ----------
    layout : str
        Of the data folder, whose listing was read.
    site : Site
        The hospital.
    index : Index
        Of its data folder.
    missing : bool
        Whether files that an index names were not found: closed folders may be why.

    Raises
    ------
    OSError
        When a folder can not be listed for another reason than its permissions.
    """
    if layout not in _WALKED and (missing or layout != "csv"):
        for _ in entries(site.root, closed := Passed()):
            pass
        index.passed.closed |= closed.closed
    told = []
    if count := len(index.passed.closed):
        what = f"{count} folder(s) inside the data folder can not be opened; what is in them is missing."
        told.append(DataError("DATA-CLOSED", what, "Check their permissions: the account that runs medfl must read them."))
    out = sum(not Path(os.path.realpath(link)).is_relative_to(site.root) for link in index.passed.links)
    if out:
        what = f"{out} link(s) to folders outside of the data folder were not followed."
        told.append(DataError("DATA-LINKS", what, "If your images lie there, set data.root in site.toml to the real folder."))
    return told


def nothing_found(site: Site, study: Study, listing: Listing, index: Index) -> DataError:
    """Return the error of a site without any image for a study, with what lies there instead, in numbers.

    Parameters
    ----------
    site, study : Site, Study
        What was looked for.
    listing : Listing
        What was found: nothing.
    index : Index
        Of the data folder.
    """
    seen = index.tree(site.root)
    kinds = Counter(item.modality for item in seen if item.kind == "dicom" and item.modality not in NOT_IMAGES)
    plain = [(count, name) for name, count in kinds.most_common() if name.isalpha() and len(name) <= 16]
    what, fix = f"site {site.name} has no images for this study.", "Check data.layout, data.index and data.where in site.toml."
    if plain and not sort_objects(seen, study.task.modality, site.data).series:
        lying = ", ".join(f"{count} {name}" for count, name in plain)
        what = f"site {site.name} has no images for this study: it asks for {study.task.modality}; here lie {lying} images."
        fix = "Set data.root in site.toml to the images that the study asks for, or take part in another study."
    also = [warning for warning in listing.warnings if warning.code in ("DATA-CLOSED", "DATA-LINKS", "LAYOUT-OTHERS")]
    what = " ".join([what, *(f"{warning.what[0].upper()}{warning.what[1:]}" for warning in also)])
    return DataError("DATA-EMPTY", what, also[0].fix if also else fix)


def _beside_dicom(root: Path, index: Index) -> Counter[str]:
    names = [entry.name.lower() for entry in entries(root, Passed())]
    volumes = sum(name.endswith(NIFTI) for name in names)
    pictures = sum(map(is_picture, names)) - volumes
    dicom = sum(item.kind == "dicom" for item in index.tree(root))
    return Counter({"NIfTI": volumes, "picture": pictures if pictures > _FEW * dicom else 0})


def _beside_folders(root: Path, index: Index) -> Counter[str]:
    """Count what lies in the data folder itself, and DICOM in the folders of patients that have other images."""
    start = os.path.join(root, "")
    below = [(entry, entry.path.removeprefix(start).split(os.sep)) for entry in entries(root, Passed())]
    own = [entry.name.lower() for entry, parts in below if len(parts) == 1]
    used = {parts[0] for entry, parts in below if len(parts) > 1 and is_picture(entry.name)}
    others = [stated(entry) for entry, parts in below if may_be_dicom(entry.path) and (len(parts) == 1 or parts[0] in used)]
    volumes = sum(name.endswith(NIFTI) for name in own)
    dicom = sum(item.kind == "dicom" for item in index.look(others))
    return Counter({"NIfTI": volumes, "picture": sum(map(is_picture, own)) - volumes, "DICOM": dicom})
