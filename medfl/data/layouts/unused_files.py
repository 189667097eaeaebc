"""Unused files: what does not belong to the layout of a data folder, or could not be opened, is always reported."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from medfl.data.dicom.headers import NON_IMAGE_MODALITIES
from medfl.data.findings import Finding
from medfl.data.index.file_facts import is_archive, may_be_dicom
from medfl.data.index.file_index import FileIndex
from medfl.data.index.walk import SkippedFolders, stat_file, walk_entries
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.object_sorting import sort_objects
from medfl.data.layouts.own_predictions import prediction_folder_warnings
from medfl.data.layouts.sources import NIFTI_SUFFIXES, is_image_file
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from medfl.system.text import plural

_MAX_PICTURE_SHARE = 0.1  # pictures to a DICOM file: a PACS adds previews, which are nobody's images
_WALKED_LAYOUTS = ("dicom", "folders")  # layouts whose own listing looks into every folder


def unused_files_warning(layout: str, site: Site, index: FileIndex) -> Finding | None:
    """Return a warning about files that look like images and that a layout does not look at.

    An index, nnU-Net, Decathlon or BIDS say themselves what belongs to them. A few pictures next to DICOM are ignored.

    Parameters
    ----------
    layout : str
        Layout, as `medfl.data.layouts.detect.detect_layout` returns it.
    site : Site
        The hospital.
    index : FileIndex
        Index of its data folder.

    Raises
    ------
    OSError
        When a folder cannot be listed.
    """
    counts = (
        {"dicom": _count_beside_dicom, "folders": _count_beside_folders}[layout](site.root, index)
        if layout in _WALKED_LAYOUTS
        else Counter()
    )
    if not counts.total():
        return None
    chosen = "set" if site.data.layout != "auto" else "found, not set"
    listing = " and ".join(f"{count} {kind} file(s)" for kind, count in sorted(counts.items()) if count)
    what = f"layout {layout} ({chosen}). {listing} are not part of it and were not looked at."
    other = "dicom" if counts["DICOM"] else "folders"
    fix = f"If they are your images, set layout = \"{other}\" in the table 'data' of site.toml, or write an index.csv."
    return Finding.warning("LAYOUT-OTHERS", what, fix)


def skipped_folder_warnings(layout: str, site: Site, index: FileIndex, *, missing: bool) -> list[Finding]:
    """Return warnings about folders and archives that could not be looked into, and links that were not followed.

    Parameters
    ----------
    layout : str
        Layout of the data folder, whose listing was read.
    site : Site
        The hospital.
    index : FileIndex
        Index of its data folder.
    missing : bool
        Whether files that an index names were not found: closed folders may be why.

    Raises
    ------
    OSError
        When a folder cannot be listed for another reason than its permissions.
    """
    archives = {item.path_text for item in index.seen().values() if item.kind == "archive"}
    if layout != "dicom" and (missing or layout != "csv"):  # its listing is a walk; an index names its files
        passed = SkippedFolders(site.root)
        archives |= {entry.path for entry in walk_entries(site.root, passed) if is_archive(entry.path)}
        index.skipped.add(passed)
    warnings = prediction_folder_warnings(index.skipped.predictions)
    if archives:
        what = f"{len(archives)} archive(s) or compressed file(s) lie in the data folder; what is in them is not looked at."
        fix = "Unpack them into the data folder if they hold images of the study."
        warnings.append(Finding.warning("DATA-ARCHIVE", what, fix))
    if count := len(index.skipped.closed):
        what = f"{count} folder(s) inside the data folder cannot be opened; what is in them is missing."
        warnings.append(
            Finding.warning("DATA-CLOSED", what, "Check their permissions: the account that runs medfl must read them.")
        )
    out = len(links_out(index.skipped, site.root)) + len(index.skipped.outside)
    if out:
        what = f"{out} link(s) to files or folders outside of the data folder were not followed."
        warnings.append(
            Finding.warning("DATA-LINKS", what, "If your images lie there, set data.root in site.toml to the real folder.")
        )
    return warnings


def links_out(skipped: SkippedFolders, root: Path) -> list[str]:
    """Return the links to folders that lead out of the data folder."""
    return [link for link in skipped.links if not Path(os.path.realpath(link)).is_relative_to(root)]


def no_images_error(site: Site, study: Study, listing: Listing, index: FileIndex) -> DataError:
    """Return the error of a site without any image for a study, with what the folder holds instead, in numbers.

    Parameters
    ----------
    site, study : Site, Study
        What was looked for.
    listing : Listing
        What was found: nothing.
    index : FileIndex
        Index of the data folder.
    """
    items = index.tree(site.root)
    kinds = Counter(item.modality for item in items if item.kind == "dicom" and item.modality not in NON_IMAGE_MODALITIES)
    plain = [(count, name) for name, count in kinds.most_common() if name.isalpha() and len(name) <= 16]
    what, fix = f"{say_no_images(site.name)}.", "Check data.layout, data.index and data.where in site.toml."
    if plain and not sort_objects(items, study.task.modality, site.data).series:
        listing_text = ", ".join(plural(count, f"{name} image") for count, name in plain)
        what = f"{say_no_images(site.name)}: it asks for {study.task.modality}; here lie {listing_text}."
        fix = "Set data.root in site.toml to the images that the study asks for, or take part in another study."
    related = [warning for warning in listing.warnings if warning.code in ("DATA-CLOSED", "DATA-LINKS", "LAYOUT-OTHERS")]
    what = " ".join([what, *(f"{warning.what[0].upper()}{warning.what[1:]}" for warning in related)])
    return DataError("DATA-EMPTY", what, related[0].fix if related else fix)


def say_no_images(site: str) -> str:
    """Return the beginning of the sentence that a site has no images for a study."""
    return f"site {site} has no images for this study"


def _count_beside_dicom(root: Path, index: FileIndex) -> Counter[str]:
    names = [entry.name.lower() for entry in walk_entries(root, SkippedFolders())]
    volumes = sum(name.endswith(NIFTI_SUFFIXES) for name in names)
    pictures = sum(map(is_image_file, names)) - volumes
    dicom = sum(item.kind == "dicom" for item in index.tree(root))
    return Counter({"NIfTI": volumes, "picture": pictures if pictures > _MAX_PICTURE_SHARE * dicom else 0})


def _count_beside_folders(root: Path, index: FileIndex) -> Counter[str]:
    """Count what lies in the data folder itself, and DICOM in the folders of patients that have other images."""
    start = os.path.join(root, "")
    entries = [(entry, entry.path.removeprefix(start).split(os.sep)) for entry in walk_entries(root, SkippedFolders())]
    names = [entry.name.lower() for entry, parts in entries if len(parts) == 1]
    used = {parts[0] for entry, parts in entries if len(parts) > 1 and is_image_file(entry.name)}
    others = [
        stat_file(entry) for entry, parts in entries if may_be_dicom(entry.path) and (len(parts) == 1 or parts[0] in used)
    ]
    volumes = sum(name.endswith(NIFTI_SUFFIXES) for name in names)
    dicom = sum(item.kind == "dicom" for item in index.identify(others))
    return Counter({"NIfTI": volumes, "picture": sum(map(is_image_file, names)) - volumes, "DICOM": dicom})
