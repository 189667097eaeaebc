"""A hospital with a folder for each patient, and checks of messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medfl.data.findings import Finding
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import MedflError
from medfl.site import Policy, Resources, Site, ensure_secret
from tests.studies import study_text

STUDY = study_text(
    "rough",
    """
rounds = 1
task = {kind = "segmentation", dimension = 3, modality = "MR", classes = "background,a,b"}
network = {name = "unet", channels = "4,8", residual-units = 0}
loss = {name = "dice-ce"}
""",
)


SHAPE = (16, 16, 8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.set_sform(np.eye(4), 1)
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, path)


def image_of(number: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(number).normal(100, 10, shape).astype(np.float32)


def mask_of(shape: tuple[int, ...] = SHAPE, classes: int = 2) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for value in range(1, classes + 1):
        mask[4 * value : 4 * value + 3, 4:9, 2:6] = value
    return mask


def fill(folder: Path, patients: int, classes: int = 2, shape: tuple[int, ...] = SHAPE) -> Path:
    """Make a hospital with one folder a patient."""
    (folder / "data").mkdir(parents=True)
    for number in range(patients):
        save(folder / "data" / f"Doe_{number}" / "image.nii.gz", image_of(number, shape))
        save(folder / "data" / f"Doe_{number}" / "label.nii.gz", mask_of(shape, classes))
    (folder / "site.toml").write_text(
        f'name = "{folder.name}"\n[data]\nroot = "data"\n[policy]\nmin-count = 0\nmin-cases = 1\nmax-excluded = 0.5\n'
    )
    return folder


def site_of(folder: Path, store: str = "store", **policy: Any) -> Site:
    ensure_secret(folder / "site.secret")
    rules = Policy(**{"min_count": 0, "min_cases": 1, "max_excluded": 0.5} | policy)
    resources = Resources(store=str(folder.parent / store))
    return Site(
        name="north", folder=folder / "data", secret_file=str(folder / "site.secret"), policy=rules, resources=resources
    )


def bits(prepared: PreparedData) -> dict[str, tuple[str, bytes, bytes]]:
    return {c.name: (c.patient, c.image.tobytes(), np.asarray(c.label).tobytes()) for c in prepared.cases}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


def check_words(problem: Finding | MedflError, tmp_path: Path) -> None:
    """Check that a message is made of sentences, says what to do, and names no file."""
    assert problem.what.endswith((".", ")."))
    assert problem.fix.endswith(".")
    assert "Nothing to do" not in problem.fix
    for word in (str(tmp_path), "Doe", ".nii", "/data"):
        assert word not in str(problem)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
