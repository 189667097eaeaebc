"""Versions of the libraries that decide what a prepared case looks like: part of every key of the store."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from functools import cache

_RESAMPLING = ("monai", "torch", "numpy", "scipy")
_READERS = {
    "nifti": ("nibabel",),
    "image": ("pillow",),
    "dicom": (
        "pydicom",
        "highdicom",
        "scikit-image",
        "pillow",
        "python-gdcm",
        "pyjpegls",
        "pylibjpeg",
        "pylibjpeg-libjpeg",
        "pylibjpeg-openjpeg",
        "pylibjpeg-rle",
    ),
}
_COARSE = ("numpy", "scipy", "torch", "scikit-image")  # their bug fixes are many and not about what is done here
_ENDING = ".dist-info"


def of_reading(kind: str) -> tuple[str, ...]:
    """Return name and version of each library that reads a kind of source.

    Parameters
    ----------
    kind : {"nifti", "dicom", "image"}
        As in `medfl.data.cases.Source`.
    """
    return _versions(_READERS[kind])


def of_preprocessing(*, bias_correction: bool) -> tuple[str, ...]:
    """Return name and version of each library that changes images after they were read."""
    return _versions((*_RESAMPLING, "simpleitk") if bias_correction else _RESAMPLING)


@cache
def _versions(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    version = _listed().get(name) or _told(name)
    return ".".join(version.split(".")[:2]) if name in _COARSE else version


@cache
def _listed() -> dict[str, str]:
    """Read versions off the names of installed folders: to open the metadata of each would cost a start milliseconds."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            if entry.endswith(_ENDING):
                name, _, version = entry.removesuffix(_ENDING).partition("-")
                found.setdefault(name.lower().replace("_", "-").replace(".", "-"), version)
    return found


def _told(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"
