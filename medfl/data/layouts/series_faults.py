"""Faults of a series: files of it that are missing, or in doubt, so that it must not be used as if it were whole."""

from __future__ import annotations

from collections import Counter

from medfl.errors import DataError

# what is wrong with a file, in the order in which it is told: code, what, fix
_FAULTS = {
    "outside": (
        "INDEX-PATH",
        "file(s) of the series are links that lead out of the data folder.",
        "Put the files into the data folder, or set data.root to the real folder.",
    ),
    "archive": (
        "DATA-ARCHIVE",
        "file(s) of the series are compressed, or in an archive.",
        "Unpack them, or take them away if they belong to nothing.",
    ),
    "headerless": (
        "DCM-NONE",
        "file(s) of the series lack the 128-byte header.",
        "Set allow-headerless = true in the table 'data' of site.toml.",
    ),
    "damaged": (
        "DCM-READ",
        "file(s) of the series, or among its files under such a name, cannot be read, so slices may be missing.",
        "Export the series again; take files away that belong to nothing.",
    ),
    "modality": (
        "DCM-HEADER",
        "file(s) of the series have no Modality, or another one than the rest or their SOP class.",
        "Export the series again. Check its anonymisation.",
    ),
    "no series": (
        "DCM-HEADER",
        "file(s) of the study, which may be slices of the series, name no series.",
        "Export the study again. Check its anonymisation.",
    ),
    "selection": (
        "DCM-HEADER",
        "file(s) of the series lack an attribute by which images are selected, or have another value than the rest.",
        "Export the series again. Check its anonymisation.",
    ),
    "absent": (
        "DD-MISSING",
        "file(s) of the series that the DICOMDIR names are missing.",
        "Copy the disc again, or export the series again.",
    ),
}


def fault_error(faults: Counter[str]) -> DataError | None:
    """Return why a series is not whole: its first fault, with the number of files.

    Parameters
    ----------
    faults : Counter of str
        Files by what is wrong: ``"outside"``, ``"archive"``, ``"headerless"``, ``"damaged"``, ``"modality"``, ``"no series"``,
        ``"selection"`` or ``"absent"``.
    """
    for fault, (code, what, fix) in _FAULTS.items():
        if faults[fault]:
            return DataError(code, f"{faults[fault]} {what}", fix)
    return None


def headerless_error(which: str) -> DataError:
    """Return the error of files without the preamble of PS3.10 section 7.1."""
    what = f"{which} look like DICOM without the 128-byte header."
    return DataError("DCM-NONE", what, "Set allow-headerless = true in the table 'data' of site.toml.")
