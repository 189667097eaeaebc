"""Forecast of the disk space and memory that preparing takes, from headers, before any image is read."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfl.data.cases import Case, Source
from medfl.data.image_extent import ImageExtent, read_extent
from medfl.data.library_output import silence_libraries
from medfl.data.store.prepared_size import check_prepared_size, foretell_shape, preparing_bytes, stored_bytes
from medfl.errors import DataError, DiskFullError
from medfl.site import Site
from medfl.study import Study
from medfl.system.memory import available_memory
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


def forecast(cases: Sequence[Case], stored: set[str], folder: Path, study: Study, site: Site) -> Forecast:
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
    site : Site
        Says how its data is to be read.
    """
    missing = [case for case in cases if case.name not in stored]
    sizes = [_stored_bytes(case, study, site) for case in missing]
    known = [size for size in sizes if size is not None]
    exact = study.preprocessing.crop == "none"
    free = shutil.disk_usage(folder).free
    return Forecast(len(cases), len(cases) - len(missing), sum(known), free, exact, len(sizes) - len(known))


def max_parallel_cases(cases: Sequence[Case], study: Study, site: Site, wanted: int) -> int:
    """Return how many cases can be prepared at a time within the free memory: at least one, at most as many as wanted."""
    if wanted <= 1:
        return 1
    largest = max((_working_bytes(extent, case, study) for case in cases if (extent := _extent(case, study, site))), default=0)
    usable = _USABLE_MEMORY_SHARE * available_memory()
    return max(1, min(wanted, len(cases), int(usable // (largest + _WORKER_BYTES))))


def _extent(case: Case, study: Study, site: Site) -> ImageExtent | None:
    try:
        with silence_libraries():
            return read_extent(case.image, study, site)
    except Exception:  # what is wrong with the file is for its reader to say
        return None


def _working_bytes(extent: ImageExtent, case: Case, study: Study) -> int:
    """Return the memory that preparing takes at the most: while the image is read, or while it is resampled."""
    reading = _VOLUME_COPIES * math.prod(extent.shape) * study.task.channel_count * np.dtype(np.float32).itemsize
    return max(reading, preparing_bytes(*extent.along_patient(), study, masked=isinstance(case.label, Source)))


def _stored_bytes(case: Case, study: Study, site: Site) -> int | None:
    extent = _extent(case, study, site)
    if extent is None:
        return None
    masked = isinstance(case.label, Source)
    try:
        check_prepared_size(*extent.along_patient(), study, site.data, masked=masked, memory=sys.maxsize)
    except DataError:  # it will be left out
        return 0
    prepared = foretell_shape(*extent.along_patient(), study)
    return stored_bytes(extent.shape, prepared, study, masked=masked)
