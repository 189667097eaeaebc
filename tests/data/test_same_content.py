"""Copies that only their voxels give away are found by a check and by preparing alike, in every kind of file."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.cases import Case, Source
from medfl.data.quality.facts import SiteCheck
from medfl.data.quality.site_check import check_site
from medfl.data.same_content import settle_copies
from medfl.data.store.prepare import prepare_cases
from medfl.data.store.prepared_data import PreparedData
from medfl.site import Policy, Site
from medfl.study import Study
from tests.data.dicom.phantom import write_slices

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]
SHAPE = (8, 9, 10)
OPEN = {"policy": Policy(min_count=0, min_cases=1, max_excluded=1.0)}


@pytest.fixture
def volumes(tmp_path: Path, save_nifti: Callable[..., Path]) -> Path:
    """Return a folder with three volumes and their masks, and copies of the first ones."""
    root = tmp_path / "data"
    for n in range(3):
        image = np.random.default_rng(n).integers(0, 1000, SHAPE).astype(np.int16)
        save_nifti(root / f"i{n}.nii.gz", image)
        save_nifti(root / f"m{n}.nii.gz", (image > 500).astype(np.uint8))
    for name in ("i0", "m0"):
        shutil.copy(root / f"{name}.nii.gz", root / f"{name}-copy.nii.gz")
    image = nibabel.load(root / "i0.nii.gz").get_fdata()  # type: ignore[attr-defined]
    save_nifti(root / "i0-plain.nii", image.astype(np.int16))
    save_nifti(root / "i0-float.nii.gz", image.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    save_nifti(root / "i0-swapped.nii", image.astype(">i4"))
    return root


def told(found: SiteCheck | PreparedData) -> dict[str, int]:
    findings = found.all_findings if isinstance(found, SiteCheck) else found.findings
    return dict(Counter(finding.code for finding in findings if finding.code.startswith("CASE-")))


def compare(site: Site, study: Study, cases: int, expected: dict[str, int], differ: bool | None = None) -> None:
    """Check that a check and preparing, also from the store, find the same."""
    check = check_site(site, study, workers=1)[0]
    for _ in range(2):
        prepared = prepare_cases(site, study)
        assert told(check) == told(prepared) == expected
        assert {case.case for case in check.usable} == {case.name for case in prepared.cases}
        assert len(prepared.cases) == cases
        alike = [finding for finding in prepared.findings if finding.code == "CASE-ALIKE"]
        assert differ is None or {"differ" in finding.what for finding in alike} == {differ}


@pytest.mark.parametrize(
    ("row", "cases", "expected"),
    [
        ("i0-copy.nii.gz,m0.nii.gz,P0", 3, {"CASE-DUP": 1}),
        ("i0-copy.nii.gz,m0-copy.nii.gz,P0", 3, {"CASE-DUP": 1}),
        ("i0-plain.nii,m0.nii.gz,P0", 4, {"CASE-ALIKE": 2}),
        ("i0-swapped.nii,m0.nii.gz,P0", 4, {"CASE-ALIKE": 2}),
        ("i0-copy.nii.gz,m1.nii.gz,P0", 2, {"CASE-CONFLICT": 2}),
        ("i0-plain.nii,m1.nii.gz,P0", 4, {"CASE-ALIKE": 2}),
        ("i0-copy.nii.gz,m0.nii.gz,P1", 2, {"CASE-CONFLICT": 2}),
    ],
    ids=["copy", "copy of both", "inflated", "of another type", "another mask", "another mask, inflated", "another patient"],
)
def test_check_and_prepare_find_the_same_copies(
    volumes: Path, make_site: SiteMaker, make_study: StudyMaker, row: str, cases: int, expected: dict[str, int]
) -> None:
    rows = [f"i{n}.nii.gz,m{n}.nii.gz,P{n}" for n in range(3)]
    (volumes / "index.csv").write_text("\n".join(["image,label,patient", *rows, row]))
    compare(make_site(volumes).model_copy(update=OPEN), make_study(), cases, expected)


def test_a_volume_with_another_position_is_told_to_be_alike(
    volumes: Path, make_site: SiteMaker, make_study: StudyMaker
) -> None:
    rows = [f"i{n}.nii.gz,a,P{n}" for n in range(3)]
    (volumes / "index.csv").write_text("\n".join(["image,label,patient", *rows, "i0-float.nii.gz,b,P3"]))
    study = make_study(task__kind="classification", task__classes="a,b")
    compare(make_site(volumes).model_copy(update=OPEN), study, 4, {"CASE-ALIKE": 2})


@pytest.mark.parametrize(("label", "patient", "differ"), [("a", "P0", False), ("b", "P0", True), ("a", "P9", True)])
def test_pictures_and_series_that_were_saved_anew_are_used_and_told(
    tmp_path: Path,
    make_site: SiteMaker,
    make_study: StudyMaker,
    label: str,
    patient: str,
    differ: bool,
) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for n in range(2):
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (16, 16)).astype(np.uint8)).save(root / f"{n}.png")
    Image.open(root / "0.png").save(root / "again.bmp")
    rows = ["image,label,patient", "0.png,a,P0", "1.png,b,P1", f"again.bmp,{label},{patient}"]
    (root / "index.csv").write_text("\n".join(rows))
    flat = make_study(task__kind="classification", task__modality="US", task__dimension=2, task__classes="a,b")
    compare(make_site(root).model_copy(update=OPEN), flat, 3, {"CASE-ALIKE": 2}, differ)

    root = tmp_path / "series"
    for name, number, who in (("0", 0, "P0"), ("1", 1, "P1"), ("again", 0, patient)):  # with UIDs of its own

        def change(_: int, ds: Any, number: int = number, who: str = who) -> None:
            ds.PatientID, ds.StudyInstanceUID = who, f"1.2.3.{who[1:]}"
            ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") + number).tobytes()

        write_slices(root / name, None, change, shape=(8, 8))
    rows = ["image,label,patient", "0,a,P0", "1,b,P1", f"again,{label},{patient}"]
    (root / "index.csv").write_text("\n".join(rows))
    study = make_study(task__kind="classification", task__modality="CT", task__classes="a,b")
    compare(make_site(root).model_copy(update=OPEN), study, 3, {"CASE-ALIKE": 2}, differ)


@pytest.mark.parametrize(("copy", "code"), [("i0-copy.nii.gz", "CASE-CONFLICT"), ("i0-plain.nii", "CASE-ALIKE")])
def test_whois_names_the_other_copy(
    volumes: Path, make_site: SiteMaker, make_study: StudyMaker, tmp_path: Path, copy: str, code: str
) -> None:
    rows = ["image,label,patient", "i0.nii.gz,m0.nii.gz,P0", f"{copy},m1.nii.gz,P0", "i1.nii.gz,m1.nii.gz,P1"]
    (volumes / "index.csv").write_text("\n".join(rows))
    text = f'name = "north"\nsecret-file = "{tmp_path / "secret"}"\n[resources]\nstore = "{tmp_path / "store"}"\n'
    (volumes / "site.toml").write_text(text)
    make_site(volumes)  # its secret
    from medfl.site import read_site

    site = read_site(volumes)
    findings = prepare_cases(site, make_study()).findings
    name = next(finding.case for finding in findings if finding.code == code)
    lines = CliRunner().invoke(app, ["data", "whois", name, str(volumes)]).stdout
    assert all(file in lines for file in ("i0.nii.gz", copy, "m0.nii.gz", "m1.nii.gz"))
    assert lines.count("CASE-CONFLICT") == (2 if code == "CASE-CONFLICT" else 0)
    assert "i1.nii.gz" not in lines


@pytest.fixture
def pair(tmp_path: Path) -> list[Case]:
    """Return two cases with files of one size."""
    cases = []
    for name in "ab":
        (tmp_path / name).write_bytes(b"0123")
        cases.append(Case(name, f"pat-{name}", "", Source("nifti", (tmp_path / name,)), 0))
    return cases


def test_what_copies_must_agree_in(pair: list[Case]) -> None:
    one, other = pair
    contents = {"a": ("x", "0"), "b": ("x", "0")}
    assert settle_copies([one, other], contents, patient_ids=True).dropped == {"a", "b"}
    copies = settle_copies([one, other], contents, patient_ids=False)
    assert copies.dropped == {"b"}
    assert [(finding.code, finding.case) for finding in copies.findings] == [("CASE-DUP", "a")]
    assert copies.tell_reading({"a": "usable", "b": "usable"}) == {"a": "usable", "b": "CASE-DUP"}
    for changed in (replace(other, split="test"), replace(other, annotated=("organ",))):
        assert settle_copies([one, changed], contents, patient_ids=False).dropped == {"a", "b"}
    assert settle_copies([one, other], {"a": ("x", "0"), "b": ("y", "0")}, patient_ids=True).dropped == set()
    assert settle_copies([one, other], {"a": ("x", "0")}, patient_ids=True).others == {}


def test_a_copy_that_is_used_once_is_also_told_to_be_like_a_file_of_its_own(pair: list[Case], tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"01234")
    third = replace(pair[0], name="c", image=Source("nifti", (tmp_path / "c",)))
    copies = settle_copies([*pair, third], dict.fromkeys("abc", ("x", "0")), patient_ids=False)
    assert copies.dropped == {"b"}
    assert [(f.code, f.case) for f in copies.findings] == [("CASE-DUP", "a"), ("CASE-ALIKE", "a"), ("CASE-ALIKE", "c")]
