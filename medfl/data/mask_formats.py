"""Formats of predicted masks: which one an image is given, and the file in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.predictions import ModelOrigin, write_nifti, write_png, write_seg
from medfl.data.source_grid import SourceGrid
from medfl.errors import DataError, DiskFullError
from medfl.site import SiteData
from medfl.study.task import Task
from medfl.system.text import join_words

MaskFormat = Literal["auto", "nifti", "seg", "labelmap", "png"]

_SUFFIXES = {"nifti": ".nii.gz", "seg": ".dcm", "labelmap": ".dcm", "png": ".png"}
DISK_CODES = ("PRED-WRITE", "DISK-FULL")  # of errors that concern the folder and not one image
_FORMATS: dict[int, tuple[MaskFormat, ...]] = {2: ("png", "nifti"), 3: ("seg", "labelmap", "nifti")}  # by dimension


def require_format(chosen: MaskFormat, task: Task) -> None:
    """Refuse, before any work, a format that the masks of a task do not come in.

    Raises
    ------
    DataError
        ``PRED-FORMAT``.
    """
    if chosen == "auto":
        return
    if task.kind == "classification":
        what = "the model tells classes, so there are no masks to write."
        raise DataError("PRED-FORMAT", what, "Leave '--masks' out.")
    fitting = _FORMATS[task.dimension]
    if chosen not in fitting:
        made_for = "volumes" if task.dimension == 3 else "pictures"
        what = f"masks cannot be {chosen}: the model predicts {made_for}."
        raise DataError("PRED-FORMAT", what, f"Leave '--masks' out, or choose {join_words(fitting, 'or')}.")


def write_mask(
    mask: NDArray[np.uint8],
    grid: SourceGrid,
    source: Source,
    classes: Sequence[str],
    origin: ModelOrigin,
    stem: Path,
    chosen: MaskFormat,
    settings: SiteData,
    codes: Sequence[tuple[str, str]] = (),
) -> tuple[Path, list[Finding]]:
    """Write a mask beside its fellows, in a format that fits its image.

    Parameters
    ----------
    mask : ndarray
        (X, Y[, Z]) on the grid of the image.
    grid : SourceGrid
        That grid.
    source : Source
        The files of the image.
    classes : sequence of str
        Names of the classes; the first is the background.
    origin : ModelOrigin
        The model.
    stem : Path
        The file without its ending.
    chosen : {"auto", "nifti", "seg", "labelmap", "png"}
        ``"auto"`` takes what the image is: DICOM-SEG for a series, or NIfTI where the series cannot carry one; NIfTI for NIfTI;
        PNG for pictures and 2-D images in DICOM.
    settings : SiteData
        How the site's series are read.
    codes : sequence of (str, str)
        SNOMED CT code and meaning of each class but the background, for DICOM-SEG; empty: looked up by the names.

    Returns
    -------
    path : Path
        The file.
    warnings : list of Finding
        What another format was taken for.

    Raises
    ------
    DataError
        ``PRED-GRID``, ``PRED-SEG``, ``PRED-FORMAT`` or ``PRED-WRITE``; the codes of reading a series.
    DiskFullError
        ``DISK-FULL``.
    """
    name = _natural_format(source, len(grid.shape)) if chosen == "auto" else chosen
    path = stem.with_name(stem.name + _SUFFIXES[name])
    if name == "nifti":
        write_nifti(mask, grid, path)
    elif name == "png":
        write_png(mask, grid, path)
    else:
        kind: Literal["BINARY", "LABELMAP"] = "LABELMAP" if name == "labelmap" else "BINARY"
        try:
            write_seg(mask, grid, source, classes, origin, path, kind=kind, settings=settings, codes=codes)
        except DiskFullError:
            raise
        except DataError as error:
            if chosen != "auto" or error.code in DISK_CODES:
                raise
            path = stem.with_name(stem.name + _SUFFIXES["nifti"])
            write_nifti(mask, grid, path)
            what = f"{error.what} Its mask is NIfTI instead."
            return path, [Finding.warning(error.code, what, "Nothing to do if that can be read.")]
    return path, []


def _natural_format(source: Source, dimension: int) -> MaskFormat:
    if source.kind == "nifti":
        return "nifti"
    return "seg" if source.kind == "dicom" and dimension == 3 else "png"
