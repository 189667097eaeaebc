"""Telling what kind of file a path is, and keeping paths below the data root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.dicom.headers import looks_like_dicom
from medfl.data.images import SUFFIXES
from medfl.errors import DataError

NIFTI = (".nii", ".nii.gz")


def below(root: Path, relative: str) -> Path:
    """Return a path of an index as a file below the data root.

    Raises
    ------
    DataError
        ``INDEX-PATH`` when it is absolute, has ``..``, or is a link that leads out.
    """
    path = Path(relative.replace("\\", "/"))
    try:
        leads_out = path.is_absolute() or ".." in path.parts or not (root / path).resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a zero character in it, or links in a circle
        leads_out = True
    if leads_out:
        raise DataError(
            "INDEX-PATH", "a path of the index leads out of the data folder, or is none.", "Use paths below the data folder."
        )
    return root / path


def source_of(paths: tuple[Path, ...], code: str = "IMG-MISSING") -> Source:
    """Tell what kind of files these are.

    Parameters
    ----------
    paths : tuple of Path
        One file a channel, or one folder with a DICOM series.
    code : str
        Code of the error when one does not exist, ``"IMG-MISSING"`` or ``"LBL-MISSING"``.

    Raises
    ------
    DataError
        `code`, or ``IMG-FORMAT`` when the kind is unknown or differs.
    """
    what = "image" if code.startswith("IMG") else "label"
    if not paths or not all(os.path.exists(path) for path in paths):  # `Path.exists` raises on a name that is too long
        raise DataError(code, f"the {what} file does not exist.", "Check the index, or copy the file again.")
    if len(paths) == 1 and paths[0].is_dir():
        files = tuple(path for path in visible_files(paths[0]) if looks_like_dicom(path))
        if not files:
            raise DataError(code, f"the folder of the {what} holds no DICOM file.", "Check the index.")
        return Source("dicom", files)
    names = [path.name.lower() for path in paths]
    if all(name.endswith(NIFTI) for name in names):
        return Source("nifti", paths)
    if all(name.endswith(SUFFIXES) for name in names):
        return Source("image", paths)
    if len(paths) == 1 and looks_like_dicom(paths[0]):
        return Source("dicom", paths)
    raise DataError("IMG-FORMAT", f"the {what} is of a kind that medfl does not read.", "Use DICOM, NIfTI, PNG or JPEG.")


def visible_files(folder: Path) -> Iterator[Path]:
    """Walk the files below a folder in a fixed order, without hidden ones and what macOS and Windows leave behind.

    Raises
    ------
    OSError
        When a folder can not be listed: its patients would be missing without a word.
    """

    def fail(error: OSError) -> None:
        raise error

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(files):
            if not name.startswith(".") and name not in ("Thumbs.db", "DICOMDIR"):
                yield Path(here) / name
