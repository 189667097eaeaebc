"""A hospital with good and bad volumes, small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

GOOD = 12
SHAPE = (10, 12, 6)
AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


def organ() -> NDArray[np.uint8]:
    """Return a mask of 4 x 5 x 2 = 40 voxels, which is 0.12 ml at 1 x 1 x 3 mm."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:6, 3:8, 1:3] = 1
    return mask


@pytest.fixture
def volumes(tmp_path: Path, save_nifti: Callable[..., Path]) -> Path:
    """Return a folder with 12 good volumes, one with NaN, one with an empty mask, and one whose mask is missing."""
    root = tmp_path / "CANARY-FOLDER"
    rng = np.random.default_rng(1)
    rows = ["image,label,patient"]

    def add(name: str, image: NDArray[Any], mask: NDArray[Any] | None) -> None:
        save_nifti(root / f"{name}.nii.gz", image, AFFINE)
        if mask is not None:
            save_nifti(root / f"{name}-mask.nii.gz", mask, AFFINE)
        rows.append(f"{name}.nii.gz,{name}-mask.nii.gz,CANARY-MRN-{len(rows)}")

    for k in range(GOOD):
        add(f"good{k}", rng.integers(0, 1000, SHAPE).astype(np.float32), organ())
    spoilt = rng.normal(size=SHAPE).astype(np.float32)
    spoilt[0, 0, 0] = np.nan
    add("CANARY-NAN", spoilt, organ())
    add("CANARY-EMPTY", rng.normal(size=SHAPE).astype(np.float32), np.zeros(SHAPE, np.uint8))
    add("CANARY-MISSING", rng.normal(size=SHAPE).astype(np.float32), None)
    (root / "index.csv").write_text("\n".join(rows))
    return root
