"""Output of `medfl data whois` for cases that could not be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.fileset import FileSet
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.cohort import read_cohort
from medfl.data.quality.site_check import check_site
from medfl.site import read_site

MASK = np.zeros((3, 4, 5), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path, make_site: Any) -> Path:
    """Return a data folder with its site.toml."""
    root = tmp_path.resolve() / "data"
    root.mkdir()
    text = f'name = "north"\nsecret-file = "{tmp_path / "secret"}"\n[resources]\nstore = "{tmp_path / "store"}"\n'
    (root / "site.toml").write_text(text)
    make_site(root)  # its secret
    return root


def whois(root: Path, study: Any) -> list[str]:
    """Return the output lines about the one case that is left out."""
    (finding,) = [finding for finding in read_cohort(read_site(root), study).findings if finding.level == "error"]
    return CliRunner().invoke(app, ["data", "whois", finding.case, str(root)]).stdout.splitlines()


def test_several_labels_of_a_folder_are_listed(root: Path, save_nifti: Any, make_study: Any) -> None:
    names = ("label", "label_b", "label_c")
    for name in ("image", *names):
        save_nifti(root / "p1" / f"{name}.nii", MASK)
    lines = whois(root, make_study())
    assert lines[0].endswith("LBL-SEVERAL")
    assert lines[1:] == [
        "  patient id: p1",
        f"  image: {root / 'p1' / 'image.nii'}",
        *(f"  label, one of 3: {root / 'p1' / name}.nii" for name in names),
    ]


def test_a_check_without_a_study_keeps_what_is_known_of_each_study(root: Path, save_nifti: Any, make_study: Any) -> None:
    save_nifti(root / "image.nii", MASK)
    (root / "index.csv").write_text("image,label,patient\nimage.nii,gone.nii,a\n")
    study = make_study(name="survey")
    before = whois(root, study)
    assert before[0].endswith("study survey  LBL-MISSING")
    check_site(read_site(root))
    after = whois(root, study)
    assert sorted(line.split("  ")[2] for line in after if line.startswith("case-")) == ["no study", "study survey"]
    assert [line for line in before if line not in after] == []


def test_a_missing_file_of_the_csv_index_is_named(root: Path, save_nifti: Any, make_study: Any) -> None:
    save_nifti(root / "mask.nii", MASK)
    (root / "index.csv").write_text("image,label,patient\ngone.nii,mask.nii,a\n")
    lines = whois(root, make_study())
    assert lines[2:] == [f"  image, named but missing: {root / 'gone.nii'}", f"  label: {root / 'mask.nii'}"]


def test_several_labels_of_a_series_are_listed(root: Path, write_series: Any, save_seg: Any, make_study: Any) -> None:
    series, organ = write_series(root / "ct", count=10), np.zeros((7, 5, 8), dtype=bool)
    organ[1:4, 1:3, 2:4] = True
    for name in ("a", "b"):
        save_seg(root / f"{name}.dcm", series, {"Organ": organ})
    lines = whois(root, make_study(task__modality="CT"))
    assert lines[1] == "  patient id: CANARY-MRN"
    assert lines[-2:] == [f"  label, one of 2: {root / name}.dcm" for name in ("a", "b")]
    (root / "b.dcm").unlink()
    series[-1].unlink()
    lines = whois(root, make_study(task__modality="CT"))
    assert lines[0].endswith("LBL-PARTIAL-REF")
    assert lines[-1] == f"  label: {root / 'a.dcm'}"


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("layout", ["dicom", "folders", "csv"])
@pytest.mark.parametrize(("size", "code"), [(300, "DCM-READ"), (-20, "DCM-TRUNCATED")])
def test_the_damaged_file_of_a_series_is_named_first(root: Path, write_series: Any, layout: str, size: int, code: str) -> None:
    series = write_series(root / "p1", count=12)
    cut(series[3], size)
    (root / "site.toml").write_text((root / "site.toml").read_text() + f'[data]\nlayout = "{layout}"\n')
    if layout == "csv":
        (root / "index.csv").write_text("image,patient\np1,a\n")
    check, _ = check_site(read_site(root))
    (name,) = {finding.case for finding in check.all_findings if finding.case}
    lines = CliRunner().invoke(app, ["data", "whois", name, str(root)]).stdout.splitlines()
    assert code in lines[0]
    damages = [line for line in lines if line.startswith("  damaged")]
    assert damages == [lines[2]] == [f"  damaged: {series[3]} ({code})"]


def test_a_damaged_image_and_a_damaged_mask_are_told_apart(root: Path, save_nifti: Any, make_study: Any) -> None:
    for name in ("image", "label"):
        save_nifti(root / "p1" / f"{name}.nii", MASK)
    cut(root / "p1" / "label.nii", -7)
    check, _ = check_site(read_site(root), make_study())
    (name,) = {finding.case for finding in check.all_findings if finding.case}
    lines = CliRunner().invoke(app, ["data", "whois", name, str(root)]).stdout.splitlines()
    assert lines[2] == f"  damaged: {root / 'p1' / 'label.nii'} (NII-TRUNCATED)"
    assert sum(line.startswith("  damaged") for line in lines) == 1


def test_a_file_that_a_dicomdir_names_and_that_is_gone_is_named(root: Path, tmp_path: Path, write_series: Any) -> None:
    def describe(_: int, ds: Any) -> None:
        ds.PatientName, ds.StudyID, ds.StudyDate, ds.StudyTime = "x", "1", "20240101", "10"

    disc = FileSet()
    for path in write_series(tmp_path / "made", describe, count=12):
        disc.add(path)
    disc.write(root)
    disc._stage["t"].cleanup()  # else it is cleaned up with a warning, some time
    gone = sorted(root.rglob("IM*"))[3]
    gone.unlink()
    check, _ = check_site(read_site(root))
    (name,) = {finding.case for finding in check.all_findings if finding.case}
    lines = CliRunner().invoke(app, ["data", "whois", name, str(root)]).stdout.splitlines()
    assert lines[2] == f"  missing: {gone} (DD-MISSING)"
