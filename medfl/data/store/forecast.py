"""Forecast of the disk space and memory that preparing takes, from headers, before any image is read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from medfl.data.cases import Case, Source
from medfl.data.dicom.source_headers import read_first_header
from medfl.data.library_output import silence_libraries
from medfl.data.nifti import read_nifti_grid
from medfl.errors import DiskFullError, MedflError
from medfl.study import Study
from medfl.system.text import format_bytes

_VOLUME_COPIES = 4  # float32 copies of the largest image that preparing holds at a time, with a reserve
_WORKER_BYTES = 700 * 2**20  # bytes of a worker before it reads anything: torch and MONAI
_USABLE_MEMORY_SHARE = 0.9  # of the free memory may be used


@dataclass(frozen=True)
class Forecast:
    """Space that preparing a site will take.

    Parameters
    ----------
    cases : int
        Cases of the site.
    stored : int
        Number of them that lie in the store in some form; they are looked at again, and seldom made again.
    size : int
        Bytes that the others will take, at most.
    free : int
        Bytes that are free in the store.
    exact : bool
        Whether `size` is what they will take; images that are cropped to what they show can come out smaller.
    unknown : int
        Cases whose header gives no size; they are not in `size`.
    """

    cases: int
    stored: int
    size: int
    free: int
    exact: bool
    unknown: int

    def require_space(self) -> None:
        """Refuse what cannot fit.

        Raises
        ------
        DiskFullError
            ``DISK-FULL``.
        """
        if self.exact and self.size > self.free:
            what = f"preparing needs {format_bytes(self.size)}, {format_bytes(self.free)} are free in the store."
            fix = "Make room, or name another folder as resources.store in the site.toml."
            raise DiskFullError("DISK-FULL", what, fix)


@dataclass(frozen=True)
class ImageGrid:
    """Shape and voxel size according to a header.

    Parameters
    ----------
    shape : tuple of int
        Voxels along each axis.
    spacing : tuple of float
        Millimetres; empty when the header does not say.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] = ()

    @property
    def voxel_count(self) -> int:
        """Voxels in all."""
        return math.prod(self.shape)


def forecast(cases: Sequence[Case], stored: set[str], folder: Path, study: Study) -> Forecast:
    """Return what preparing will take.

    Parameters
    ----------
    cases : sequence of Case
        Cases of the cohort.
    stored : set of str
        Names of the cases that lie in the store.
    folder : Path
        The store.
    study : Study
        Says what is made of an image.
    """
    missing = [case for case in cases if case.name not in stored]
    sizes = [_prepared_bytes(case, study) for case in missing]
    known = [size for size in sizes if size is not None]
    exact = study.preprocessing.crop == "none"
    free = shutil.disk_usage(folder).free
    return Forecast(len(cases), len(cases) - len(missing), sum(known), free, exact, len(sizes) - len(known))


def max_parallel_cases(cases: Sequence[Case], study: Study, wanted: int) -> int:
    """Return how many cases can be prepared at a time within the free memory: at least one, at most as many as wanted."""
    if wanted <= 1:
        return 1
    grids = [grid for case in cases if (grid := read_grid(case.image)) is not None]
    largest = max((grid.voxel_count for grid in grids), default=0) * study.task.channels * np.dtype(np.float32).itemsize
    usable = _USABLE_MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(wanted, len(cases), int(usable // (_VOLUME_COPIES * largest + _WORKER_BYTES))))


def read_grid(source: Source) -> ImageGrid | None:
    """Return shape and voxel size of an image by its header alone, or nothing when it does not say."""
    try:
        with silence_libraries():
            if source.kind == "nifti":
                return ImageGrid(*read_nifti_grid(source.paths[0]))
            return _read_dicom_grid(source) if source.kind == "dicom" else _read_image_grid(source.paths[0])
    except (MedflError, OSError, ValueError, KeyError, EOFError):
        return None  # what is wrong with the file is for its reader to say


def _read_dicom_grid(source: Source) -> ImageGrid | None:
    header = read_first_header(source)
    if header is None:
        return None
    count = max(len(source.paths) // max(1, len(source.select)), int(header.text("NumberOfFrames") or 1))
    sides = int(header.text("Columns")), int(header.text("Rows"))
    return ImageGrid((*sides, count) if count > 1 else sides)


def _read_image_grid(path: Path) -> ImageGrid:
    from PIL import Image

    with Image.open(path) as image:
        return ImageGrid(image.size)


def _prepared_bytes(case: Case, study: Study) -> int | None:
    grid = read_grid(case.image)
    if grid is None:
        return None
    settings = study.preprocessing
    voxels = float(grid.voxel_count)
    changed = bool(settings.spacing or settings.size or settings.crop != "none")
    if settings.size:
        voxels = math.prod(settings.size)
    elif settings.spacing and len(grid.spacing) == len(settings.spacing):
        voxels *= math.prod(grid.spacing) / math.prod(settings.spacing)
    size = voxels * study.task.channels * np.dtype(settings.dtype).itemsize
    if isinstance(case.label, Source):  # where the classes lie takes some KB more
        size += voxels + (grid.voxel_count if changed and study.task.dimension == 3 else 0)
    return int(size)
