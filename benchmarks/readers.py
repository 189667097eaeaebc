"""Comparison of medfl and MONAI's PydicomReader on the difficult series of the tests; prints a table and asserts nothing.

    python -m benchmarks.readers

A volume is right when at least 99.9 % of its voxels hold the value that belongs to the place that the affine gives them.
Readers get the folder as it is. Rows that need a choice or an option of medfl show the same folder to MONAI.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import PydicomReader
from numpy.typing import NDArray

from medfl.data.dicom.headers import looks_like_dicom
from medfl.data.dicom.resample_stack import AIR_HU
from medfl.data.dicom.series import read_series
from medfl.data.library_output import silence_libraries
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError
from tests.data.dicom.difficult import DEFAULTS, SERIES, Difficult
from tests.data.dicom.phantom import error_of

NEAR = 1.0  # Hounsfield units; half a pixel is 1.9
SHARE = 0.999


def verdict(array: NDArray[Any], affine: NDArray[Any], fill: float | None = None) -> str:
    """Return whether voxels hold what belongs to their place."""
    if array.ndim != 3:
        return "WRONG (4-D)"
    wrong = error_of(array, LPS_TO_RAS @ affine, fill)
    return "ok" if (wrong < NEAR).mean() >= SHARE else f"WRONG (off by {wrong.max():.0f})"


def by_medfl(folder: Path, difficult: Difficult) -> str:
    """Return what medfl makes of a folder."""
    files = sorted(folder.iterdir())
    paths = [path for path in files if looks_like_dicom(path)] or files
    try:
        volume = read_series(paths, difficult.settings, select=difficult.select)
    except DataError as error:
        return error.code
    resampled = volume.acquired_geometry is not None
    found = verdict(volume.array[0], volume.affine, AIR_HU if resampled else None)
    return ", ".join([found, *(warning.code for warning in volume.warnings)])


def by_monai(folder: Path, difficult: Difficult) -> str:
    """Return what MONAI's reader makes of it; whatever it raises is a refusal."""
    reader = PydicomReader()
    try:
        with silence_libraries():
            array, meta = reader.get_data(reader.read(str(folder)))
    except Exception:
        return "refused"
    return verdict(np.asarray(array), np.asarray(meta["affine"]))


READERS: dict[str, Callable[[Path, Difficult], str]] = {"medfl": by_medfl, "MONAI PydicomReader": by_monai}


def main() -> None:
    """Print the table and its sums."""
    print("| series |", " | ".join(READERS), "|")
    print("|---" * (1 + len(READERS)) + "|")
    sums: dict[str, Counter[str]] = {name: Counter() for name in READERS}
    for name, difficult in SERIES.items():
        with tempfile.TemporaryDirectory() as folder:
            difficult.make(Path(folder))
            cells = {reader: read(Path(folder), difficult) for reader, read in READERS.items()}
        for reader, cell in cells.items():
            kind = cell.split(" ")[0].split(",")[0]
            sums[reader][kind if kind in ("ok", "WRONG") else "refused"] += 1
        chosen = " (options)" if difficult.select or difficult.settings != DEFAULTS else ""
        print(f"| {name}{chosen} |", " | ".join(cells.values()), "|")
    totals = [" / ".join(str(count[kind]) for kind in ("ok", "WRONG", "refused")) for count in sums.values()]
    print(f"| **{len(SERIES)} series: right / wrong / refused** |", " | ".join(totals), "|")


if __name__ == "__main__":
    main()
