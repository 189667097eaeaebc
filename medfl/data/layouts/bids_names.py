"""Names of files in BIDS: those of the data set itself, and what the name of an image or table consists of."""

from __future__ import annotations

from pathlib import Path

DESCRIPTION_FILE, PARTICIPANTS_FILE = "dataset_description.json", "participants.tsv"


def bids_suffix(path: Path) -> str:
    """Return the last part of a name in small letters, which says the kind of the file.

    Examples
    --------
    >>> bids_suffix(Path("sub-01_desc-aseg_dseg.nii.gz"))
    'dseg'
    """
    return split_bids_name(path)[-1].lower()


def bids_entities(path: Path) -> frozenset[str]:
    """Return the other parts, keys with their values.

    Examples
    --------
    >>> sorted(bids_entities(Path("sub-01_desc-aseg_dseg.nii.gz")))
    ['desc-aseg', 'sub-01']
    """
    return frozenset(split_bids_name(path)[:-1])


def split_bids_name(path: Path) -> list[str]:
    """Return the parts of a name."""
    return path.name.split(".")[0].split("_")
