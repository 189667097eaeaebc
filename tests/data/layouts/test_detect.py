"""Detection of layouts, and warnings about files that do not belong to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.overview import make_overview
from medfl.errors import DataError

MASK = np.zeros((3, 4, 5), dtype=np.uint8)


def findings_of(cohort: Cohort, code: str) -> list[tuple[str, str]]:
    return [(finding.level, finding.what) for finding in cohort.findings if finding.code == code]


@pytest.fixture
def root(tmp_path: Path, save_nifti: Any) -> Path:
    """Return a data folder with ten patients in NIfTI."""
    for n in range(10):
        for name in ("image", "label"):
            save_nifti(tmp_path / "data" / f"p{n}" / f"{name}.nii.gz", MASK)
    return tmp_path / "data"


def test_a_stray_slice_hides_no_nifti(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    write_series(root / "p10", count=1)
    write_series(root / "p3" / "also", count=2)
    site, study = make_site(root), make_study(task__modality="CT")
    cohort = read_cohort(site, study)
    assert len(cohort.cases) == 10
    what = "layout folders (found, not set). 2 DICOM file(s) are not part of it and were not looked at."
    assert findings_of(cohort, "LAYOUT-OTHERS") == [("warning", what)]
    found = make_overview(site)
    assert (found.layout, found.found) == ("folders", True)
    assert [warning.startswith(what) for warning in found.warnings] == [True]


def test_nifti_next_to_much_dicom_is_reported(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    write_series(root / "ct", count=21)
    cohort = read_cohort(make_site(root), make_study(task__modality="CT"))
    what = "layout dicom (found, not set). 20 NIfTI file(s) are not part of it and were not looked at."
    assert findings_of(cohort, "LAYOUT-OTHERS") == [("warning", what)]
    forced = read_cohort(make_site(root, layout="folders"), make_study(task__modality="CT"))
    assert (len(forced.cases), findings_of(forced, "LAYOUT-OTHERS")) == (10, [])


def test_a_few_previews_beside_dicom_are_no_matter(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    series = write_series(tmp_path / "data" / "ct", count=10)
    (tmp_path / "data" / "a.jpg").write_bytes(b"preview")
    site, study = make_site(tmp_path / "data"), make_study(task__modality="CT")
    assert findings_of(read_cohort(site, study), "LAYOUT-OTHERS") == []
    for path in series:
        path.with_suffix(".jpg").write_bytes(b"image")
    # no folders of patients: still DICOM
    assert "11 picture file(s)" in findings_of(read_cohort(site, study), "LAYOUT-OTHERS")[0][1]


def test_folders_that_may_not_be_opened_are_counted_in_every_layout(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scan = tmp_path / "data", os.scandir
    for n in (1, 2, 3):
        save_nifti(root / f"sub-{n}/anat/sub-{n}_T1w.nii.gz", MASK)
        save_nifti(root / f"sub-{n}/anat/sub-{n}_dseg.nii.gz", MASK)
    (root / "dataset_description.json").write_text("{}")

    def refusing(folder: Any) -> Any:
        if str(folder).endswith("sub-2/anat"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    cohort = read_cohort(make_site(root), make_study())
    assert len(cohort.cases) == 2
    assert [(level, what[:11]) for level, what in findings_of(cohort, "DATA-CLOSED")] == [("warning", "1 folder(s)")]


def test_links_that_lead_out_are_reported(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    write_series(tmp_path / "data" / "ct")
    write_series(tmp_path / "archive")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "archive")
    (tmp_path / "data" / "ct" / "again").symlink_to(tmp_path / "data" / "ct")  # leads nowhere else
    cohort = read_cohort(make_site(tmp_path / "data"), make_study(task__modality="CT"))
    assert [what[:9] for _, what in findings_of(cohort, "DATA-LINKS")] == ["1 link(s)"]


def test_a_folder_of_links_only_says_so(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    write_series(tmp_path / "archive")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "more").symlink_to(tmp_path / "archive")
    with pytest.raises(DataError, match="link") as caught:
        read_cohort(make_site(tmp_path / "data", layout="dicom"), make_study(task__modality="CT"))
    assert caught.value.code == "DATA-EMPTY"


def test_images_of_another_kind_are_counted(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    write_series(tmp_path / "data" / "a")
    with pytest.raises(DataError, match=r"DATA-EMPTY.*asks for MR; here lie 8 CT images"):
        read_cohort(make_site(tmp_path / "data"), make_study())
    cohort = read_cohort(make_site(tmp_path / "data", layout="folders"), make_study())
    assert "no MR image, which the study asks for, but 8 other" in findings_of(cohort, "IMG-MISSING")[0][1]


def test_an_index_that_serves_for_nothing_is_not_passed_over(root: Path, make_site: Any, make_study: Any) -> None:
    (root / "index.csv").write_text("id,group\np1,a\n")
    with pytest.raises(DataError, match=r"INDEX-COLUMN.*no column 'image'.*The index has: id, group.*images/\{id\}\.nii\.gz"):
        read_cohort(make_site(root), make_study())
    assert "no column 'image'" in make_overview(make_site(root)).warnings[0]
    assert len(read_cohort(make_site(root, layout="folders"), make_study()).cases) == 10
    (root / "index.csv").write_text("patient,label\np1,a\n")  # classes of patients, of which masks have no need
    assert len(read_cohort(make_site(root), make_study()).cases) == 10


def test_a_pattern_that_matches_nothing_is_reported_once(root: Path, make_site: Any, make_study: Any) -> None:
    cohort = read_cohort(make_site(root, image="t1.nii.gz"), make_study())
    (what,) = [what for level, what in findings_of(cohort, "IMG-MISSING") if level == "warning"]
    assert what == "none of the 10 images was found."
    assert not any("index" in str(finding) for finding in cohort.findings)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_empty_folder_with_a_link_that_leads_out_says_so(tmp_path: Path, make_site: Any, make_study: Any, kind: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.dcm").write_bytes(b"x")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere" / ("1.dcm" if kind == "file" else ""))
    with pytest.raises(DataError, match=r"\[DATA-EMPTY\].*1 link\(s\) in it lead out of it.*Set data\.root"):
        read_cohort(make_site(tmp_path / "data"), make_study())


@pytest.mark.parametrize(("names", "advised"), [(("benign", "malignant"), True), (("MUELLER", "KELLER"), False)])
def test_folders_called_like_classes_get_advice(
    tmp_path: Path, make_site: Any, make_study: Any, names: tuple[str, ...], advised: bool
) -> None:
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(2):
            (tmp_path / "data" / name / f"{n}.png").write_bytes(b"x")
    flat = {"task__dimension": 2, "task__modality": "US"}
    cohort = read_cohort(make_site(tmp_path / "data"), make_study(**flat))
    fix = next(finding.fix for finding in cohort.findings if finding.code == "IMG-MISSING" and not finding.case)
    assert ("If the 2 folders are classes" in fix) == advised
    classes = make_study(task__kind="classification", task__classes="benign,malignant", **flat)
    for named in ({}, {"index": "classes.json"}):
        with pytest.raises(DataError) as caught:
            read_cohort(make_site(tmp_path / "data", **named), classes)
        assert caught.value.code == "INDEX-MISSING"
        assert ("If the 2 folders are classes" in caught.value.fix) == advised


def make_nnunet(folder: Path, save_nifti: Any) -> str:
    save_nifti(folder / "imagesTr/a_0000.nii.gz", MASK)
    save_nifti(folder / "labelsTr/a.nii.gz", MASK)
    labels = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}'
    (folder / "dataset.json").write_text(labels)
    return "dataset.json"


def make_bids(folder: Path, save_nifti: Any) -> str:
    save_nifti(folder / "sub-1/anat/sub-1_T1w.nii.gz", MASK)
    save_nifti(folder / "derivatives/x/sub-1/anat/sub-1_dseg.nii.gz", MASK)
    for path in (folder, folder / "derivatives/x"):
        (path / "dataset_description.json").write_text("{}")
    return "dataset_description.json"


def make_csv(folder: Path, save_nifti: Any) -> str:
    for name in ("a", "b"):
        save_nifti(folder / f"{name}.nii.gz", MASK)
    (folder / "index.csv").write_text("image,label,patient\na.nii.gz,b.nii.gz,p\n")
    return "index.csv"


@pytest.mark.parametrize("make", [make_nnunet, make_bids, make_csv])
@pytest.mark.parametrize("place", ["study", "nnUNet_raw/Dataset001"])
def test_a_data_set_in_a_folder_below_is_pointed_at(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any, make: Any, place: str
) -> None:
    root = tmp_path / "data"
    file = make(root / place, save_nifti)
    with pytest.raises(DataError, match=f"DATA-LAYOUT.* but {file} lies in a folder below. Set data.root in site.toml"):
        read_cohort(make_site(root), make_study())
    assert any(file in warning and "data.root" in warning for warning in make_overview(make_site(root)).warnings)
    assert len(read_cohort(make_site(root / place), make_study()).cases) == 1
    make(root / "other", save_nifti)
    with pytest.raises(DataError, match=f"but 2 folders below hold {file}. Set data.root in site.toml to the one"):
        read_cohort(make_site(root), make_study())


def test_a_description_in_the_folder_of_a_patient_is_no_data_set(
    root: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    (root / "p3" / "dataset.json").write_text("{}")
    make_nnunet(root / "p4" / "more", save_nifti)
    assert len(read_cohort(make_site(root), make_study()).cases) == 10


@pytest.mark.parametrize(
    ("columns", "fix"),
    [
        ("PatientID;Befund", 'set patient = "PatientID" and label = "Befund" in [data]'),
        ("PatientID;label", 'set patient = "PatientID" in [data]'),
        ("patient;Diagnose", 'set label = "Diagnose" in [data]'),
        ("Nummer;Diagnose", "set 'patient' and 'label' to columns of it in [data]"),
    ],
)
@pytest.mark.parametrize("layout", ["dicom", "folders"])
def test_an_index_beside_images_that_are_found_without_it_needs_no_column_of_images(
    root: Path, write_series: Any, make_site: Any, make_study: Any, layout: str, columns: str, fix: str
) -> None:
    if layout == "dicom":
        write_series(root / "ct", count=21)
    (root / "Liste.csv").write_text(f"{columns}\np1;gesund\np2;krank\n")
    with pytest.raises(
        DataError, match=r"\[INDEX-COLUMN\] the images were found without the index; it has no column"
    ) as caught:
        read_cohort(make_site(root, index="Liste.csv"), make_study(task__modality="CT"))
    assert f"No column of images is needed: {fix}." in str(caught.value)
    patient, label = columns.split(";")
    study = make_study(task__kind="classification", task__classes="gesund,krank", task__modality="CT")
    site = make_site(root, index="Liste.csv", patient=patient, label=label)
    assert (layout, len(read_cohort(site, study).cases)) in (("dicom", 0), ("folders", 2))
