"""Tables with one row a patient, ids that differ in their spelling, and files that another system spells otherwise."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.layouts.id_spellings import similar_id_warnings, unmatched_id_warnings
from medfl.errors import DataError

NFC, NFD = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
VOLUME = np.arange(1716, dtype=np.int16).reshape(11, 12, 13)
MASK = (VOLUME > 800).astype(np.uint8)


def picture(path: Path, n: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(n, n + 240, dtype=np.uint8).reshape(12, 20)).save(path)


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings))


@pytest.fixture
def patients(tmp_path: Path, save_nifti: Any) -> Any:
    """Return a maker of four patients, in a folder each, or as BIDS, with masks."""

    def make(layout: str) -> Path:
        root = tmp_path / "data"
        for n in range(1, 5):
            if layout == "bids":
                save_nifti(root / f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz", VOLUME + n)
                save_nifti(root / f"derivatives/x/sub-0{n}/anat/sub-0{n}_mask.nii.gz", MASK)
                (root / "dataset_description.json").write_text("{}")
            else:
                save_nifti(root / f"0{n}" / "image.nii.gz", VOLUME + n)
                save_nifti(root / f"0{n}" / "label.nii.gz", MASK)
        return root

    return make


def write_table(root: Path, layout: str, columns: str, *rows: str) -> None:
    """Write rows of text with commas as the table of a layout."""
    name, sign = ("participants.tsv", "\t") if layout == "bids" else ("index.csv", ";")
    columns = columns.replace("patient", "participant_id").replace("Patient", "Participant_ID") if layout == "bids" else columns
    (root / name).write_text("\n".join([columns, *rows]).replace(",", sign))


@pytest.mark.parametrize("kind", ["segmentation", "classification"])
@pytest.mark.parametrize("layout", ["bids", "folders"])
def test_the_splits_of_a_table_of_patients_count(
    patients: Any, make_site: Any, make_study: Any, layout: str, kind: str
) -> None:
    root = patients(layout)
    write_table(root, layout, "Patient,Label,Split", "01,a,train", "02,b,TRAIN", "03,a,dev", "04,b,testing")
    study = make_study(**({"task__kind": kind, "task__classes": "a,b"} if kind == "classification" else {}))
    cohort = read_cohort(make_site(root), study)
    assert Counter(case.split for case in cohort.cases) == {"train": 2, "validation": 1, "test": 1}
    assert codes(cohort) == {}
    write_table(root, layout, "patient,label,subset", "01,a,train", "02,b,train", "03,a,test", "04,b,test")
    assert codes(read_cohort(make_site(root), study)) == {"SPLIT-UNREAD": 1}
    write_table(root, layout, "patient,label,spilt", "01,a,train", "02,b,train", "03,a,test", "04,b,test")
    with pytest.raises(DataError, match=r"INDEX-COLUMN.*'spilt'"):
        read_cohort(make_site(root), study)
    write_table(root, layout, "patient,label,split", "p1,a,train", "p2,b,train", "p3,a,test", "p4,b,test")
    with pytest.raises(DataError, match=r"\[SPLIT-MISSING\](?!.*ID-)"):
        read_cohort(make_site(root), study)
    write_table(root, layout, "patient,label,split", "1,a,train", "2,b,train", "3,a,test", "4,b,test")
    with pytest.raises(DataError, match=r"\[SPLIT-MISSING\].*\[ID-ZEROS\] 4 patient"):
        read_cohort(make_site(root), study)


def test_the_splits_of_a_table_count_for_dicom_by_its_patient_ids(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for n in range(4):

        def change(_: int, ds: Any, n: int = n) -> None:
            ds.PatientID, ds.IssuerOfPatientID = f"CANARY-{n}", "north"

        write_series(root / str(n), change)
    rows = [f"CANARY-{n},{'ab'[n % 2]},{'test' if n > 2 else 'Train'}" for n in range(4)]
    (root / "index.csv").write_text("\n".join(["patient,label,SPLIT", *rows]))
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT")
    cohort = read_cohort(make_site(root), study)
    assert Counter(case.split for case in cohort.cases) == {"train": 3, "test": 1}
    assert not any("CANARY" in str(finding) for finding in cohort.findings)


def test_a_patient_with_two_rows_that_differ_costs_that_patient(patients: Any, make_site: Any, make_study: Any) -> None:
    root = patients("folders")
    rows = ("01,a,train", "01,b,train", "02,B,test", "02,b,test", "03,a,test", "03,a,train", "04,b,test")
    write_table(root, "folders", "case,label,split", *rows)
    cohort = read_cohort(make_site(root), make_study(task__kind="classification", task__classes="a,b"))
    assert len(cohort.cases) == 2
    assert codes(cohort) == {"LBL-CONFLICT": 1, "SPLIT-LEAK": 1, "LBL-NO-CLASS": 1}


@pytest.mark.parametrize("layout", ["bids", "folders"])
@pytest.mark.parametrize("blank", ["", "n/a", " - "])
def test_an_empty_cell_in_another_row_of_a_patient_contradicts_nothing(
    patients: Any, make_site: Any, make_study: Any, layout: str, blank: str
) -> None:
    root = patients(layout)
    rows = [f"01,a,{blank}", f"01,{blank},train", f"02,{blank},test", f"02,b,{blank}", "03,a,train", f"03,a,{blank}"]
    write_table(root, layout, "patient,label,split", *rows, f"03,{blank},train", "04,b,test", f"04,{blank},{blank}")
    cohort = read_cohort(make_site(root), make_study(task__kind="classification", task__classes="a,b"))
    assert Counter((case.label, case.split) for case in cohort.cases) == {(0, "train"): 2, (1, "test"): 2}
    assert codes(cohort) == {}
    write_table(root, layout, "patient,label,split", *rows, "03,a,test", "04,b,test")
    cohort = read_cohort(make_site(root), make_study(task__kind="classification", task__classes="a,b"))
    assert (len(cohort.cases), codes(cohort)) == (3, {"SPLIT-LEAK": 1})


@pytest.mark.parametrize("layout", ["bids", "folders"])
def test_another_id_of_a_person_in_a_table_of_folders_is_told_where_it_repeats(
    patients: Any, make_site: Any, make_study: Any, layout: str
) -> None:
    root, study = patients(layout), make_study()
    for ids, told in (("abcc", {"INDEX-COLUMN": 1}), ("abcd", {})):
        rows = [f"0{n},{one},{'test' if n > 3 else 'train'}" for n, one in enumerate(ids, start=1)]
        write_table(root, layout, "patient,record_id,split", *rows)
        assert codes(read_cohort(make_site(root), study)) == told


def test_a_table_that_segmentation_does_not_need_is_not_asked_for_more(patients: Any, make_site: Any, make_study: Any) -> None:
    root = patients("bids")
    assert codes(read_cohort(make_site(root), make_study())) == {}
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t50\n")
    assert codes(read_cohort(make_site(root), make_study())) == {}
    (root / "participants.tsv").write_text("name\tage\n1\t50\n")  # whose rows these are is not understood
    assert codes(read_cohort(make_site(root), make_study())) == {"LAYOUT-TABLE": 1}
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t50\tx\n")
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), codes(cohort)) == (4, {"INDEX-FORMAT": 1})


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        ("1 2 3 4", "ID-ZEROS"),
        ("01.0 02.0 03.0 04.0", "ID-SPELLING"),
        ("001 002 003 004", "ID-ZEROS"),
        ("01 02 03 04", ""),
        ("sub-01 02 sub-03 04", ""),
        ("SUB-01 SUB-02 Sub-03 04", ""),
    ],
)
def test_participants_whose_ids_are_spelt_otherwise(
    patients: Any, make_site: Any, make_study: Any, ids: str, code: str
) -> None:
    root = patients("bids")
    write_table(root, "bids", "patient,label", *(f"{one},{'ab'[n % 2]}" for n, one in enumerate(ids.split())))
    cohort = read_cohort(make_site(root), make_study(task__kind="classification", task__classes="a,b"))
    assert len(cohort.cases) == (0 if code else 4)
    assert {code for code in codes(cohort) if code.startswith("ID-")} == ({code} if code else set())


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ("7 07", 2),
        ("p1 P1 p2", 2),
        ("1 1.0 2", 2),
        ("P_1 P1 P-1", 3),
        ("P1-1 P11", 0),
        ("1_11 11_1 111", 0),
        ("a b c", 0),
        ("10 100 1", 0),
        (f"{NFC} {NFD}", 2),
        ("'007 007 b", 2),
    ],
)
def test_ids_of_one_folder_that_differ_only_in_their_spelling_are_said(ids: str, said: int) -> None:
    found = similar_id_warnings([[one] for one in ids.split()])
    assert [f.code for f in found] == (["ID-SPELLING"] if said else [])
    assert all(f"ids of {said} patients" in f.what and "Müller" not in f.what for f in found)


@pytest.mark.parametrize(("ids", "said"), [("1.23457E+11 2", 1), ("1,2e+12 3E+9", 2), ("E+11 e12 1.2", 0)])
def test_numbers_that_a_spreadsheet_shortened_are_said(ids: str, said: int) -> None:
    found = similar_id_warnings([[one] for one in ids.split()])
    assert [(f.code, f.what.partition(" ")[0]) for f in found] == ([("ID-SPELLING", str(said))] if said else [])


def test_zeros_and_other_spellings_are_told_apart() -> None:
    found = unmatched_id_warnings(["7", "b", "P 3", "x"], ["007", "B", "p3", "x"])
    assert [(f.code, f.what[0]) for f in found] == [("ID-ZEROS", "1"), ("ID-SPELLING", "2")]


def test_ids_are_compared_in_every_layout(tmp_path: Path, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    for n in range(2):
        picture(root / f"{n}.png", n)
    (root / "index.csv").write_text("image,label,patient\n0.png,a,7\n1.png,b,007\n")
    assert codes(read_cohort(make_site(root), study)) == {"ID-SPELLING": 1}
    (root / "index.csv").write_text("image,label\n0.png,a\n1.png,b\n")
    assert codes(read_cohort(make_site(root, patient=""), study)) == {}


@pytest.mark.parametrize(("on_disk", "in_index"), [(NFD, NFC), (NFC, NFD), (NFC, NFC), (NFD, NFD)])
def test_a_name_in_either_form_of_unicode_is_found(
    tmp_path: Path, make_site: Any, make_study: Any, on_disk: str, in_index: str
) -> None:
    root = tmp_path / "data"
    picture(root / on_disk / f"{NFC}-{on_disk}.png", 0)
    picture(root / "1.png", 1)
    (root / "index.csv").write_text(f"image,label,patient\n{in_index}/{NFC}-{in_index}.png,a,p\n1.png,b,q\n")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    assert len(read_cohort(make_site(root), study).cases) == 2
    picture(root / NFC / f"{NFC}-{NFC}.png", 2)
    picture(root / NFD / f"{NFC}-{NFD}.png", 3)
    (case,) = (case for case in read_cohort(make_site(root), study).cases if case.label == 0)
    assert case.image.paths[0].parent.name == in_index  # where both are there, each is the one that it says


@pytest.mark.parametrize("name", ["X1.PNG", "x1.png ", "Sub\\x1.png", "sub/ x1.png"])
def test_a_name_that_differs_in_capitals_only_is_told(tmp_path: Path, make_site: Any, make_study: Any, name: str) -> None:
    root = tmp_path / "data"
    picture(root / "x1.png", 0)
    picture(root / "sub" / "x1.png", 1)
    (root / "index.csv").write_text(f"image,label,patient\n{name},a,p\nx1.png,b,q\n")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    cohort = read_cohort(make_site(root), study)
    if name == "x1.png ":
        assert codes(cohort)["CASE-CONFLICT"] == 1  # a blank at the end of a cell is none of the name
    else:
        (finding,) = (f for f in cohort.findings if f.code == "IMG-MISSING")
        assert "differs only in capitals or blanks" in finding.what


@pytest.mark.parametrize("name", ["C:\\data\\x1.png", "c:/data/x1.png", "\\\\server\\share\\x1.png"])
def test_a_path_of_another_machine_is_no_path_below_the_folder(
    tmp_path: Path, make_site: Any, make_study: Any, name: str
) -> None:
    root = tmp_path / "data"
    picture(root / "x1.png", 0)
    (root / "index.csv").write_text(f"image,label,patient\n{name},a,p\nx1.png,b,q\n")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    assert codes(read_cohort(make_site(root), study))["INDEX-PATH"] == 1


def test_a_folder_named_in_the_other_form_has_its_row(tmp_path: Path, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    for n, name in enumerate((NFD, "p2")):
        picture(root / name / "image.png", n)
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="XR", task__dimension=2)
    (root / "index.json").write_bytes(json.dumps({NFC: "a", "p2": "b"}, ensure_ascii=False).encode("utf-16"))
    assert len(read_cohort(make_site(root, index="index.json"), study).cases) == 2
    (root / "index.json").write_text(json.dumps([{"Patient": NFC, "Label": "a"}, {"Patient": "p2", "Label": "b"}]))
    assert len(read_cohort(make_site(root, index="index.json"), study).cases) == 2
    for wrong in ('{"p2": {"patient": "p3", "label": "b"}}', '[{"patient": "p2", "label": "a", " label": "b"}]'):
        (root / "index.json").write_text(wrong)
        with pytest.raises(DataError, match="INDEX-FORMAT"):
            read_cohort(make_site(root, index="index.json", layout="folders"), study)
