"""Versions of the libraries that decide what a prepared case looks like: part of every key of the store."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from functools import cache

_PREPROCESSING = ("monai", "torch", "numpy", "scipy")
_READERS = {
    "nifti": ("nibabel",),
    "image": ("pillow", "tifffile"),
    "dicom": (
        "pydicom",
        "highdicom",
        "pillow",
        "python-gdcm",
        "pyjpegls",
        "pylibjpeg",
        "pylibjpeg-libjpeg",
        "pylibjpeg-openjpeg",
        "pylibjpeg-rle",
    ),
}
_MINOR_ONLY = ("numpy", "scipy", "torch")  # their bug fixes are many and not about what is done here
_DIST_INFO = ".dist-info"


def reader_versions(kind: str) -> tuple[str, ...]:
    """Return name and version of each library that reads a kind of source.

    Parameters
    ----------
    kind : {"nifti", "dicom", "image"}
        Kind of file, as in `medfl.data.cases.Source`.
    """
    return _versions(_READERS[kind])


def preprocessing_versions(*, bias_correction: bool) -> tuple[str, ...]:
    """Return name and version of each library that changes images after they were read."""
    return _versions((*_PREPROCESSING, "simpleitk") if bias_correction else _PREPROCESSING)


@cache
def _versions(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    version = _installed_versions().get(name) or _metadata_version(name)
    return ".".join(version.split(".")[:2]) if name in _MINOR_ONLY else version


@cache
def _installed_versions() -> dict[str, str]:
    """Read versions off the names of installed folders: to open the metadata of each would cost a start milliseconds."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            if entry.endswith(_DIST_INFO):
                name, _, version = entry.removesuffix(_DIST_INFO).partition("-")
                found.setdefault(name.lower().replace("_", "-").replace(".", "-"), version)
    return found


def _metadata_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"
