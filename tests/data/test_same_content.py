"""Copies that only their voxels give away are found by a check and by preparing alike."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medfl.data.cases import Source
from medfl.data.quality.facts import SiteCheck
from medfl.data.quality.site_check import check_site
from medfl.data.same_content import Content, settle_copies
from medfl.data.store.prepare import prepare_cases
from medfl.data.store.prepared_data import PreparedData
from medfl.site import Policy, Site
from medfl.study import Study

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]
SHAPE = (8, 9, 10)


@pytest.fixture
def volumes(tmp_path: Path, save_nifti: Callable[..., Path]) -> Path:
    """Return a folder with three volumes and their masks, and copies of the first ones."""
    root = tmp_path / "data"
    for n in range(3):
        image = np.random.default_rng(n).normal(size=SHAPE).astype(np.float32)
        save_nifti(root / f"i{n}.nii.gz", image)
        save_nifti(root / f"m{n}.nii.gz", (image > 0).astype(np.uint8))
    for name in ("i0", "m0"):
        shutil.copy(root / f"{name}.nii.gz", root / f"{name}-copy.nii.gz")
    return root


def told(found: SiteCheck | PreparedData) -> dict[str, int]:
    findings = found.all_findings if isinstance(found, SiteCheck) else found.findings
    return dict(Counter(finding.code for finding in findings if finding.code.startswith("CASE-")))


@pytest.mark.parametrize(
    ("row", "cases", "expected"),
    [
        ("i0-copy.nii.gz,m0.nii.gz,P0", 3, {"CASE-DUP": 1}),
        ("i0-copy.nii.gz,m0-copy.nii.gz,P0", 3, {"CASE-DUP": 1}),
        ("i0-copy.nii.gz,m1.nii.gz,P0", 2, {"CASE-CONFLICT": 2}),
        ("i0-copy.nii.gz,m0.nii.gz,P1", 2, {"CASE-CONFLICT": 2}),
    ],
    ids=["copy", "copy of both", "another mask", "another patient"],
)
def test_check_and_prepare_find_the_same_copies(
    volumes: Path,
    make_site: Callable[..., Site],
    make_study: Callable[..., Study],
    row: str,
    cases: int,
    expected: dict[str, int],
) -> None:
    rows = [f"i{n}.nii.gz,m{n}.nii.gz,P{n}" for n in range(3)]
    (volumes / "index.csv").write_text("\n".join(["image,label,patient", *rows, row]))
    site, study = (
        make_site(volumes).model_copy(update={"policy": Policy(min_count=0, min_cases=1, max_excluded=1.0)}),
        make_study(),
    )
    check = check_site(site, study)[0]
    for _ in range(2):  # also from the store
        prepared = prepare_cases(site, study)
        assert told(check) == told(prepared) == expected
        assert {case.case for case in check.usable} == {case.name for case in prepared.cases}
        assert len(prepared.cases) == cases


def test_copies_without_patients_agree(tmp_path: Path) -> None:
    images = {}
    for name, size in (("case-A", 5), ("case-B", 5), ("case-C", 5), ("case-D", 6)):
        (tmp_path / name).write_bytes(bytes(size))
        images[name] = Source("nifti", (tmp_path / name,))
    contents = [Content(name, f"pat-{name}", "y" if name == "case-C" else "x", "0") for name in images]
    assert settle_copies(contents, images, patient_ids=True)[0] == {"case-A", "case-B"}
    dropped, (finding,) = settle_copies(contents, images, patient_ids=False)
    assert (dropped, finding.case, finding.level) == ({"case-B"}, "case-A", "warning")
