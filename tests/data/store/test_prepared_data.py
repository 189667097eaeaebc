"""The digest of prepared data is another one whenever training would see something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medfl.data.store.prepare import prepare
from medfl.site import Site, SiteData
from tests.data.store.store_site import mask_of, site_of, study_of, write_nifti

MIRRORED = np.diag([-1.0, 1.0, 2.0, 1.0])
ROWS = [f"img{n}.nii,seg{n}.nii,Doe{n}" for n in range(4)]


def rewrite(site: Site, affine: np.ndarray, number: int = 0) -> None:
    values = np.random.default_rng(number).normal(100, 10, (8, 9, 10)).astype(np.float32)
    write_nifti(site.folder / "img0.nii", values, affine)
    write_nifti(site.folder / "seg0.nii", mask_of(0), affine)


def change_mask(site: Site) -> None:
    write_nifti(site.folder / "seg0.nii", mask_of(1), MIRRORED)


def write_index(columns: str, *rows: str) -> Callable[[Site], None]:
    return lambda site: (site.folder / "index.csv").write_text("\n".join([columns, *rows, ""])) and None


@pytest.mark.parametrize(
    "change",
    [
        lambda site: rewrite(site, MIRRORED, number=9),
        lambda site: rewrite(site, np.diag([1.0, 1.0, 2.0, 1.0])),
        lambda site: rewrite(site, np.diag([-1.0, 1.0, 3.0, 1.0])),
        change_mask,
        write_index("image,label,patient", *ROWS[1:]),
        write_index("image,label,patient,annotated", *(f"{row},{'a' if row is ROWS[0] else 'a;b'}" for row in ROWS)),
        write_index(
            "image,label,patient,split",
            *(f"{row},{split}" for row, split in zip(ROWS, ["train", "train", "val", "test"], strict=True)),
        ),
    ],
    ids=["voxels", "orientation", "spacing", "mask", "cases", "annotated classes", "splits"],
)
def test_each_change_that_training_would_see_gives_another_digest(tmp_path: Path, change: Callable[[Site], None]) -> None:
    site = site_of(tmp_path / "north", 4).model_copy(update={"data": SiteData(layout="csv")})
    before = prepare(site, study_of()).digest
    assert prepare(site, study_of()).digest == before
    change(site)
    assert prepare(site, study_of()).digest != before
