"""Folders of images that several files of tests predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.images_to_predict import AXES, TURNED, cube, grey, save


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Return a folder with three volumes of other axes and spacings, without labels."""
    folder = tmp_path / "volumes"
    save(folder / "ras.nii.gz", grey(cube()))
    save(folder / "lps.nii.gz", grey(cube()), AXES["lps"])
    save(folder / "turned.nii", grey(cube((14, 12, 16))), TURNED)
    return folder
