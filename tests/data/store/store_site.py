"""A hospital of small volumes, and studies of them, for the tests of the store."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medfl.data.store import case_cache as case_cache_module
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.site import Policy, Site, SiteData, ensure_secret
from medfl.study import Study

TASK = {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,a,b"}


def study_of(task: dict[str, Any] | None = None, **preprocessing: Any) -> Study:
    return Study.model_validate(config_of(task, **preprocessing))


def config_of(task: dict[str, Any] | None = None, **preprocessing: Any) -> dict[str, Any]:
    task = TASK | (task or {})
    segmenting = task["kind"] == "segmentation"
    return {
        "name": "s",
        "rounds": 1,
        "task": task,
        "network": {"name": "unet" if segmenting else "cnn"},
        "loss": {"name": "dice-ce" if segmenting else "cross-entropy"},
        "preprocessing": preprocessing,
    }


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    nib.save(image, path)


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros((8, 9, 10), np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    mask[5, 5, number % 8] = 2
    return mask


def site_of(folder: Path, cases: int = 8, **policy: Any) -> Site:
    """Make a hospital of `cases` patients with one image each, from different seeds, mirrored in x."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(cases):
        values = np.random.default_rng(number).normal(100, 10, (8, 9, 10)).astype(np.float32)
        affine = np.diag([-1.0, 1.0, 2.0, 1.0])
        write_nifti(folder / f"img{number}.nii", values, affine)
        write_nifti(folder / f"seg{number}.nii", mask_of(number), affine)
        rows.append({"image": f"img{number}.nii", "label": f"seg{number}.nii", "patient": f"Doe{number}"})
    with open(folder / "index.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label", "patient"])
        writer.writeheader()
        writer.writerows(rows)
    ensure_secret(folder / "site.secret")
    return Site(name="north", folder=folder, policy=Policy(**policy), data=SiteData(layout="csv"))


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("a source was read")

    monkeypatch.setattr(case_cache_module, "load_case", read)


def spoil(site: Site, number: int = 0) -> None:
    """Put a value into a mask that the study does not declare."""
    write_nifti(site.folder / f"seg{number}.nii", np.full((8, 9, 10), 7, np.uint8), np.diag([-1.0, 1.0, 2.0, 1.0]))


def by_name(prepared: PreparedData) -> dict[str, PreparedCase]:
    return {case.name: case for case in prepared.cases}
