"""Finding out how a data folder is laid out, and listing what is in it; the first layout that fits is it."""

from __future__ import annotations

from collections.abc import Callable

from medfl.data.images import SUFFIXES
from medfl.data.index.index import Index
from medfl.data.index.rows import may_be_dicom
from medfl.data.index.walk import File, entries, stated
from medfl.data.layouts.bids import is_bids, list_bids
from medfl.data.layouts.csv import is_csv, list_csv, manifests
from medfl.data.layouts.dicom import list_dicom
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.folders import is_folders, list_folders
from medfl.data.layouts.msd import is_msd, list_msd
from medfl.data.layouts.nnunet import is_nnunet, list_nnunet
from medfl.data.layouts.sources import NIFTI, visible_files
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_LISTS: dict[str, Callable[[Site, Study, Index], Listing]] = {
    "csv": list_csv,
    "nnunet": lambda site, study, _: list_nnunet(site, study),
    "msd": lambda site, study, _: (list_nnunet if is_nnunet(site.root) else list_msd)(site, study),
    "bids": lambda site, study, _: list_bids(site, study),
    "dicom": list_dicom,
    "folders": list_folders,
}


def list_images(site: Site, study: Study, index: Index) -> Listing:
    """List what lies in the data folder of a site.

    Raises
    ------
    DataError
        ``DATA-READ``, those of `layout_of`, and those of the layout.
    """
    try:
        return _LISTS[layout_of(site, index)](site, study, index)
    except OSError:
        what = f"the data folder of site {site.name} can not be read."
        raise DataError("DATA-READ", what, "Check disk, network drive and permissions.") from None


def layout_of(site: Site, index: Index) -> str:
    """Return how the data folder of a site is laid out.

    Raises
    ------
    DataError
        ``DATA-EMPTY`` or ``DATA-LAYOUT``.
    """
    if site.data.layout != "auto":
        return site.data.layout
    root = site.root
    tests: dict[str, Callable[[], bool]] = {
        "csv": lambda: is_csv(site),  # first: somebody wrote the index on purpose
        "nnunet": lambda: is_nnunet(root),
        "msd": lambda: is_msd(root),
        "bids": lambda: is_bids(root),
        "dicom": lambda: _is_dicom(site, index),
        "folders": lambda: is_folders(root),
    }
    for name, fits in tests.items():
        if name == "dicom" and len(manifests(site)) == 1:
            return "csv"
        if fits():
            return name
    if (root / site.data.index).is_file():
        return "csv"  # its error says which column is missing
    if next(visible_files(root), None) is None:
        what = f"the data folder of site {site.name} holds no file."
        raise DataError("DATA-EMPTY", what, "Put the images there, or set data.root in site.toml to where they are.")
    fix = "Write an index.csv with the columns image, label and patient, or set data.layout in site.toml."
    raise DataError("DATA-LAYOUT", f"the data folder of site {site.name} has no layout that medfl knows.", fix)


def _is_dicom(site: Site, index: Index) -> bool:
    """Return whether DICOM lies there; files without preamble count where they are allowed, or where there is nothing else."""
    headerless = images = False
    waiting: list[File] = []
    enough = 1  # files to look at together: one will do in a tree of DICOM
    for entry in [*entries(site.root), None]:
        if entry is not None and not may_be_dicom(entry.path):
            images = images or entry.name.lower().endswith((*NIFTI, *SUFFIXES))
            continue
        waiting += [stated(entry)] if entry is not None else []
        if len(waiting) >= enough or entry is None:
            kinds = {item.kind for item in index.look(waiting)}
            if kinds & {"dicom", "damaged", "media"}:
                return True
            headerless = headerless or "headerless" in kinds
            waiting, enough = [], enough * 4
    return headerless and (site.data.allow_headerless or not images)
