"""Predicted segmentations are read by another program, dcmqi, which puts each structure where the image has it."""

from __future__ import annotations

import subprocess
from importlib import resources
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.affines import apply_affine

from medfl.data.cases import Source
from medfl.data.dicom.series import read_series
from medfl.data.predictions import write_seg
from medfl.data.source_grid import SourceGrid
from medfl.site import SiteData
from tests.data.dicom.phantom import AXIAL, stack, write_slices
from tests.data.dicom.writing import oblique
from tests.data.test_predictions import CLASSES, ORIGIN, marked

pytest.importorskip("dcmqi", reason="dcmqi is not installed")

ORIENTATIONS = {
    "axial": AXIAL,
    "oblique": oblique(),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_another_program_finds_each_structure_where_the_image_has_it(name: str, tmp_path: Path) -> None:
    row, column = (np.asarray(axis, dtype=np.float64) for axis in ORIENTATIONS[name])
    paths = write_slices(tmp_path / "series", stack(axes=(row, column)), axes=(row, column))
    grid = SourceGrid.of_volume(read_series(paths, SiteData()))
    mask = marked(grid.shape)
    write_seg(mask, grid, Source("dicom", tuple(paths)), CLASSES, ORIGIN, tmp_path / "seg.dcm")
    program = str(resources.files("dcmqi") / "bin" / "segimage2itkimage")
    words = ["--inputDICOM", str(tmp_path / "seg.dcm"), "--outputDirectory", str(tmp_path), "--outputType", "nii"]
    subprocess.run([program, *words], check=True, capture_output=True, timeout=60)
    for number in (1, 2):
        found = nibabel.load(next(tmp_path.glob(f"{number}.nii*")))
        there = apply_affine(found.affine, np.argwhere(np.asarray(found.dataobj) > 0))
        voxels = np.rint(apply_affine(np.linalg.inv(grid.affine), there)).astype(int)
        drawn = np.zeros(mask.shape, dtype=bool)
        drawn[tuple(voxels.T)] = True
        np.testing.assert_array_equal(drawn, mask == number)
