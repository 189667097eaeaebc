"""A table in the data folder is read, or it is said that it is not: it may say who the patients are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cohort import read_cohort
from medfl.data.overview import make_overview
from medfl.site.pacs import Pacs

BOX = np.arange(1716, dtype=np.int16).reshape(11, 12, 13)
MASK = (BOX > 800).astype(np.uint8)
LAYOUTS = ("csv", "nnunet", "msd", "bids", "dicom", "folders")
READ = {  # tables that a layout reads
    "csv": {},
    "nnunet": {"index.csv": "case,patient\na,1\n"},
    "msd": {"Index.csv": "case,split\na,train\n"},
    "bids": {"participants.tsv": "participant_id\tage\nsub-1\t60\n", "participants.json": "{}", "T1w.json": "{}"},
    "dicom": {"index.csv": "patient,label\nCANARY-MRN,x\n"},
    "folders": {"index.csv": "case,split\na,train\n"},
}


@pytest.fixture
def fill(tmp_path: Path, save_nifti: Any, write_series: Any) -> Callable[[str], Path]:
    """Return a maker of one case in a layout."""

    def make(layout: str) -> Path:
        root = tmp_path / "data"
        if layout == "dicom":
            write_series(root / "ct")
            return root
        image, mask = {
            "nnunet": ("imagesTr/a_0000", "labelsTr/a"),
            "msd": ("imagesTr/a", "labelsTr/a"),
            "bids": ("sub-1/anat/sub-1_T1w", "derivatives/x/sub-1/anat/sub-1_mask"),
        }.get(layout, ("a/image", "a/label"))
        save_nifti(root / f"{image}.nii.gz", BOX)
        save_nifti(root / f"{mask}.nii.gz", MASK)
        about = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
        rows = {"training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}]}
        described = {
            "csv": ("index.csv", "image,label,patient\na/image.nii.gz,a/label.nii.gz,1\n"),
            "nnunet": ("dataset.json", json.dumps(about)),
            "msd": ("dataset.json", json.dumps(about | rows)),
            "bids": ("dataset_description.json", "{}"),
        }
        if layout in described:
            (root / described[layout][0]).write_text(described[layout][1])
        return root

    return make


def study_of(layout: str, make_study: Any) -> Any:
    return make_study(task__modality="CT" if layout == "dicom" else "MR")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_that_is_read_is_not_told(fill: Any, make_site: Any, make_study: Any, layout: str) -> None:
    root = fill(layout)
    for name, text in READ[layout].items():
        (root / name).write_text(text)
    cohort = read_cohort(make_site(root), study_of(layout, make_study), account=True)
    assert "LAYOUT-TABLE" not in {finding.code for finding in cohort.findings}
    assert not any("not read" in warning for warning in make_overview(make_site(root)).warnings)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Patienten.csv", "Patienten.csv"),
        ("patients.xlsx", "patients.xlsx"),
        ("participants.csv", "participants.csv"),
        ("Muster_Patienten.csv", "1 file .csv"),
        ("patients_19610203.csv", "1 file .csv"),
        ("03-12-61.csv", "1 file .csv"),
        ("61.csv", "1 file .csv"),
        ("data_24-05-17.csv", "1 file .csv"),
        ("patient 03.12.61.xlsx", "1 file .xlsx"),
        ("fold_3.csv", "fold_3.csv"),
        ("split_12_1.csv", "1 file .csv"),
        ("train.csv.gz", "train.csv.gz"),
        ("Müller.csv.gz", "1 file .csv.gz"),
        ("dataset_labels.tsv", "dataset_labels.tsv"),
    ],
)
def test_a_table_that_no_layout_reads_is_told(
    fill: Any, make_site: Any, make_study: Any, layout: str, name: str, shown: str
) -> None:
    root = fill(layout)
    for file, text in READ[layout].items():
        (root / file).write_text(text)
    (root / name).write_bytes(b"PK\3\4" if name.endswith("xlsx") else b"patient,class\n1,x\n")
    cohort = read_cohort(make_site(root), study_of(layout, make_study), account=True)
    (finding,) = (one for one in cohort.findings if one.code == "LAYOUT-TABLE")
    assert f"1 table in the data folder is not read: {shown}." in finding.what
    assert ("workbook" in finding.fix) == name.endswith("xlsx")
    overview = make_overview(make_site(root))
    assert sum("is not read" in warning for warning in overview.warnings) == 1
    assert cohort.files is not None
    assert cohort.files.counts["unused-table"] == overview.account.counts["unused-table"] >= 1


KINDS = ["txt", "lst", "yaml", "yml", "jsonl", "pkl", "npy", "csv.gz", "xlsb", "dta", "accdb", "xml"]


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_tables_of_every_kind_are_told(fill: Any, make_site: Any, make_study: Any, kind: str) -> None:
    root = fill("folders")
    (root / f"train.{kind}").write_bytes(b"a\nb\n")
    (root / f"Muster.{kind}").write_bytes(b"c 1\n\nd 0\n")
    cohort = read_cohort(make_site(root), study_of("folders", make_study))
    (finding,) = (one for one in cohort.findings if one.code == "LAYOUT-TABLE")
    assert f"2 tables in the data folder are not read: train.{kind}, 1 other file .{kind}." in finding.what


def test_phenotypes_of_bids_are_told_and_prose_is_not(fill: Any, make_site: Any, make_study: Any) -> None:
    root = fill("bids")
    (root / "README.txt").write_text("train\ntest\n")
    (root / "notes.txt").write_text("These images were made in 2020, and nobody knows by whom.\n")
    (root / "empty.txt").write_text("\n")
    (root / "phenotype").mkdir()
    (root / "phenotype" / "diagnosis.tsv").write_text("participant_id\tdiagnosis\nsub-1\tx\n")
    (root / "phenotype" / "diagnosis.json").write_text("{}")
    cohort = read_cohort(make_site(root), study_of("bids", make_study))
    (finding,) = (one for one in cohort.findings if one.code == "LAYOUT-TABLE")
    assert "1 table in the data folder is not read: phenotype/diagnosis.tsv." in finding.what


@pytest.mark.parametrize(
    ("layout", "name", "text"),
    [
        ("nnunet", "index.csv", "case,age\na,60\n"),
        ("bids", "index.csv", "patient,split\n1,test\n"),
        ("bids", "participants.tsv", "subject\tage\n1\t60\n"),
        ("csv", "dataset.json", '{"labels": {"background": 0, "organ": 2}}'),
        ("nnunet", "splits_final.json", "[]"),
        ("folders", "classes.json", '{"a": "benign"}'),
    ],
)
def test_a_table_of_a_known_name_that_says_nothing_to_the_layout_is_told(
    fill: Any, make_site: Any, make_study: Any, layout: str, name: str, text: str
) -> None:
    root = fill(layout)
    (root / name).write_text(text)
    cohort = read_cohort(make_site(root), make_study())
    (finding,) = (one for one in cohort.findings if one.code == "LAYOUT-TABLE")
    assert name in finding.what


def test_what_goes_with_an_image_is_no_table(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    save_nifti(root / "a.nii.gz", BOX)
    save_nifti(root / "m.nii.gz", MASK)
    (root / "a.json").write_text("{}")
    (root / "index.csv").write_text("image,label,patient\na.nii.gz,m.nii.gz,1\n")
    assert "LAYOUT-TABLE" not in {finding.code for finding in read_cohort(make_site(root), make_study()).findings}


def test_the_list_of_patients_to_fetch_is_used(fill: Any, make_site: Any, make_study: Any) -> None:
    root = fill("folders")
    (root / "wanted.txt").write_text("a\nb\n")
    query = {"modalities": ("CT",), "patients": "wanted.txt"}
    site = make_site(root).model_copy(update={"pacs": Pacs(kind="dimse", host="127.0.0.1", port=1, ae_title="X", query=query)})
    codes = [{one.code for one in read_cohort(one_site, make_study()).findings} for one_site in (site, make_site(root))]
    assert ["LAYOUT-TABLE" in found for found in codes] == [False, True]
