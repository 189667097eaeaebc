"""Sources of images: the kind of a file, and paths that stay below the data root."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.dicom.headers import looks_like_dicom
from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.walk import SkippedFolders, is_dicomdir, walk_entries
from medfl.data.layouts.file_spellings import compose, find_spelling
from medfl.data.spelling import fold_name
from medfl.errors import DataError

NIFTI_SUFFIXES = (".nii", ".nii.gz")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")  # of Windows


def resolve_below(root: Path, relative: str) -> Path:
    """Return a path of an index as a file below the data root.

    Raises
    ------
    DataError
        ``INDEX-PATH`` when it is absolute, has ``..``, or is a link that leads out.
    """
    path = Path(relative.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in relative or _DRIVE.match(relative):
        raise _leads_out_error()
    found = root / path
    if not os.path.lexists(found):
        found = find_spelling(found, compose) or found
    require_inside(root, found)
    return found


def require_inside(root: Path, path: Path) -> None:
    """Check that what a path names lies in the data folder, whatever links it leads through.

    Raises
    ------
    DataError
        ``INDEX-PATH``.
    """
    try:
        if _is_inside(root, path):
            return
    except (OSError, ValueError, RuntimeError):  # links in a circle
        pass
    raise _leads_out_error()


def _leads_out_error() -> DataError:
    return DataError(
        "INDEX-PATH",
        "a path leads out of the data folder, perhaps through a link, or is none.",
        "Use paths below the data folder; where it holds links, set data.root to the real folder.",
    )


def _is_inside(root: Path, path: Path) -> bool:
    real = Path(os.path.realpath(path)) if os.path.islink(path) else _resolve(path.parent) / path.name
    return real.is_relative_to(_resolve(root))


@lru_cache(maxsize=4096)
def _resolve(folder: Path) -> Path:
    return folder.resolve()  # once for all the files of a folder


def make_source(paths: tuple[Path, ...], code: str = "IMG-MISSING", names: tuple[tuple[int, str], ...] = ()) -> Source:
    """Tell what kind of files these are.

    Parameters
    ----------
    paths : tuple of Path
        One file a channel.
    code : str
        Code of the error when one does not exist, ``"IMG-MISSING"`` or ``"LBL-MISSING"``.
    names : tuple of (int, str)
        What the values of a mask mean, where the data says it.

    Raises
    ------
    DataError
        `code`, or ``IMG-FORMAT`` when the kind is unknown or differs.
    """
    what = describe_code(code)
    require_files(paths, code)
    lower = [path.name.lower() for path in paths]
    if all(name.endswith(NIFTI_SUFFIXES) for name in lower):
        return Source("nifti", paths, names=names)
    if all(name.endswith(IMAGE_SUFFIXES) for name in lower):
        return Source("image", paths, names=names)
    if len(paths) == 1 and paths[0].is_file() and looks_like_dicom(paths[0]):
        return Source("dicom", paths)
    raise DataError("IMG-FORMAT", f"the {what} is of a kind that medfl does not read.", "Use DICOM, NIfTI, PNG, TIFF or JPEG.")


def require_files(paths: tuple[Path, ...], code: str) -> None:
    """Check that files are there.

    Raises
    ------
    DataError
        `code`, or ``IMG-FORMAT`` for a pipe, socket or device, which nobody may open.
    """
    if not paths or not all(os.path.exists(path) for path in paths):  # `Path.exists` raises on a name that is too long
        raise _missing_error(paths, code)
    if not all(os.path.isfile(path) or os.path.isdir(path) for path in paths):
        what = f"the {describe_code(code)} is no file, but a pipe, a socket or a device."
        raise DataError("IMG-FORMAT", what, "Put the file itself into the data folder.")


def _missing_error(paths: tuple[Path, ...], code: str) -> DataError:
    what, fix = f"the {describe_code(code)} file does not exist", "Copy it again, or correct its name where it is listed."
    if paths and all(find_spelling(path, fold_name) for path in paths):
        return DataError(
            code, f"{what}, but one whose name differs only in capitals or blanks.", "Write the name as the file has it."
        )
    return DataError(code, f"{what}.", fix)


def describe_code(code: str) -> str:
    """Return what a code is about, for a message."""
    return "image" if code.startswith("IMG") else "label"


def is_image_file(name: str) -> bool:
    """Return whether a file is an image or mask in another form than DICOM, by its name."""
    return name.lower().endswith((*NIFTI_SUFFIXES, *IMAGE_SUFFIXES))


def visible_files(folder: Path, passed: SkippedFolders | None = None) -> Iterator[Path]:
    """Walk the files below a folder that may be read, as `medfl.data.index.walk.walk_entries` does, without DICOMDIRs.

    Parameters
    ----------
    folder : Path
        Folder to begin with.
    passed : SkippedFolders, optional
        Takes what cannot be looked into.

    Raises
    ------
    OSError
        When a folder cannot be listed: its patients would be missing without a word.
    """
    return (Path(entry.path) for entry in walk_entries(folder, passed) if not is_dicomdir(entry.path))


def named_files(folder: Path, passed: SkippedFolders) -> list[Path]:
    """Return the files below a folder by their names, even those that may not be read: whoever asks for one hears why.

    Parameters
    ----------
    folder : Path
        Folder to begin with.
    passed : SkippedFolders
        Takes what cannot be looked into.

    Raises
    ------
    OSError
        When a folder cannot be listed.
    """
    own = SkippedFolders(passed.root)
    names = {*visible_files(folder, own), *map(Path, own.outside | own.broken | own.special)}
    passed.add(own)
    return sorted(names)
