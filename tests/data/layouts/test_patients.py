"""One person is one patient and one image is one case, whatever layout, index, folders and headers call them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.layouts.anonymous_ids import is_placeholder
from medfl.data.quality.site_check import check_site
from medfl.data.splits import assign_splits
from medfl.site import Site
from medfl.study import Study
from tests.data.dicom.phantom import write_slices

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings))


@pytest.fixture
def study(make_study: StudyMaker) -> Study:
    return make_study(task__kind="classification", task__modality="CT", task__classes="benign,malignant")


@pytest.fixture
def flat(make_study: StudyMaker) -> Study:
    return make_study(task__kind="classification", task__modality="US", task__dimension=2, task__classes="benign,malignant")


def write_exams(root: Path, patients: list[str]) -> None:
    """Write a series of a study of its own into a folder for each PatientID given."""
    for n, patient in enumerate(patients):

        def change(_: int, ds: Any, n: int = n, patient: str = patient) -> None:
            ds.PatientID, ds.StudyInstanceUID = patient, f"1.2.3.{n}"

        write_slices(root / f"exam{n:02}", None, change, shape=(8, 8), series=f"1.2.9.{n}")


def index_of(root: Path, *rows: str, columns: str = "image,label,patient") -> None:
    (root / "index.csv").write_text("\n".join([columns, *rows]))


def splits_by(cohort: Cohort, study: Study, patients: list[str]) -> list[set[str]]:
    """Return the splits that the exams of each PatientID are in."""
    splits = assign_splits(cohort.cases, study, "north")
    found: dict[str, set[str]] = {}
    for case in cohort.cases:
        number = int(case.image.paths[0].parent.name[-2:])
        found.setdefault(patients[number], set()).add(splits[case.name])
    return list(found.values())


@pytest.mark.parametrize("layout", ["folders", "csv", "no patients", "dicom"])
def test_exams_of_one_patient_id_are_one_patient_in_every_layout(
    tmp_path: Path, make_site: SiteMaker, study: Study, layout: str
) -> None:
    patients = [f"P{n // 3}" for n in range(12)]
    root = tmp_path / "data"
    write_exams(root, patients)
    rows = [f"exam{n:02},{('benign', 'malignant')[n > 5]},X{n}" for n in range(12)]
    if layout == "folders":
        index_of(root, *(f"exam{n:02},{('benign', 'malignant')[n > 5]}" for n in range(12)), columns="patient,label")
    elif layout == "dicom":
        index_of(root, *(f"P{n},{('benign', 'malignant')[n > 1]}" for n in range(4)), columns="patient,label")
    else:
        index_of(root, *rows)
    options = {"no patients": {"layout": "csv", "patient": ""}}.get(layout, {"layout": layout})
    cohort = read_cohort(make_site(root, **options), study)
    assert len(cohort.cases) == 12
    assert len({case.patient for case in cohort.cases}) == 4
    assert all(len(splits) == 1 for splits in splits_by(cohort, study, patients))
    assert codes(cohort) == ({"LBL-SHARED": 1} if layout == "dicom" else {"ID-HEADER": 1})
    if layout == "folders":
        (finding,) = cohort.findings
        assert finding.what.startswith("12 patient(s) by index or folder are 4 by the PatientID")
        assert not any(word in str(finding) for word in ("P0", "P1", "exam"))


def test_an_index_that_agrees_with_the_headers_is_left_as_it_is(tmp_path: Path, make_site: SiteMaker, study: Study) -> None:
    root = tmp_path / "data"
    write_exams(root, ["A", "A", "B", ""])
    index_of(root, "exam00,benign,one", "exam01,benign,one", "exam02,malignant,two", "exam03,malignant,three")
    cohort = read_cohort(make_site(root), study)
    assert codes(cohort) == {}
    assert len({case.patient for case in cohort.cases}) == 3


def test_ids_are_joined_through_others(tmp_path: Path, make_site: SiteMaker, study: Study) -> None:
    """The index says that exams 0 and 1 are of one person, the headers that 1 and 2 are."""
    root = tmp_path / "data"
    write_exams(root, ["A", "B", "B", "C"])
    index_of(root, "exam00,benign,one", "exam01,benign,one", "exam02,malignant,two", "exam03,malignant,three")
    cohort = read_cohort(make_site(root), study)
    assert codes(cohort) == {"ID-HEADER": 1}
    assert sorted(Counter(case.patient for case in cohort.cases).values()) == [1, 3]


@pytest.mark.parametrize("header", ["ANON-17", "anonymous", "NaN"])
def test_an_id_that_says_nothing_does_not_make_one_patient_of_strangers(
    tmp_path: Path, make_site: SiteMaker, study: Study, header: str
) -> None:
    root = tmp_path / "data"
    write_exams(root, [header] * 4)
    index_of(root, *(f"exam{n:02},benign,X{n}" for n in range(4)))
    cohort = read_cohort(make_site(root), study)
    assert len({case.patient for case in cohort.cases}) == 4
    assert codes(cohort) == {"LBL-NO-CLASS": 1} | ({} if is_placeholder(header) else {"ID-CONSTANT": 1})


@pytest.mark.parametrize(
    "text",
    ["nan", "NaN", "NULL", "None", "n/a", "N.A.", "#N/A", "-", "?", "Anonymous", "ANONYMIZED", "unknown", "no id", "xxx"],
)
def test_placeholders_in_an_index_are_no_id(tmp_path: Path, make_site: SiteMaker, flat: Study, text: str) -> None:
    assert is_placeholder(text)
    rng = np.random.default_rng(0)
    for n in range(3):
        save_picture(tmp_path / "data" / f"{n}.png", rng.integers(0, 255, (8, 8)))
    index_of(tmp_path / "data", f"0.png,benign,{text}", f"1.png,malignant,{text}", "2.png,benign,P")
    cohort = read_cohort(make_site(tmp_path / "data"), flat)
    assert codes(cohort)["ID-MISSING"] == 2
    assert len(cohort.cases) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("<NA>", "NaT", "-nan", "(null)", "__", "N_A", "not_available", "no_name", "De_Identified", "xxx-xxx"),
        *("#REF!", "#NV", "Anonymous^^", "UNKNOWN^UNKNOWN", "'unknown'"),
    ],
)
def test_signs_around_and_between_words_make_no_id_of_a_placeholder(text: str) -> None:
    assert is_placeholder(text)


IDS = ["Nanna", "anna", "0", "007", "NA12", "known", "Anonymous001", "anonym_3", "ANON-17", "NV", "NA_1", "no-1", "#17"]


@pytest.mark.parametrize("text", [*IDS, "patient 1"])
def test_names_that_resemble_placeholders_are_ids(text: str) -> None:
    assert not is_placeholder(text)


@pytest.mark.parametrize("layout", ["folders", "csv"])
def test_one_id_with_and_without_its_issuer_is_one_patient(
    tmp_path: Path, make_site: SiteMaker, study: Study, layout: str
) -> None:
    root = tmp_path / "data"
    for n in range(4):

        def change(_: int, ds: Any, n: int = n) -> None:
            ds.PatientID, ds.StudyInstanceUID = f"P{n // 2}", f"1.2.3.{n}"
            if n % 2:
                ds.IssuerOfPatientID = "HOSPITAL"

        write_slices(root / f"exam{n:02}", None, change, shape=(8, 8), series=f"1.2.9.{n}")
    columns = "patient,label" if layout == "folders" else "image,label,patient"
    rows = [f"exam{n:02},{('benign', 'malignant')[n > 1]}" + ("" if layout == "folders" else f",X{n}") for n in range(4)]
    index_of(root, *rows, columns=columns)
    cohort = read_cohort(make_site(root, layout=layout), study)
    assert sorted(Counter(case.patient for case in cohort.cases).values()) == [2, 2]
    assert "ID-HEADER" in codes(cohort)


def save_picture(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with two pictures of equal size, and the first one as a copy, a link and a hard link."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for name in ("x.bmp", "y.bmp"):
        save_picture(root / name, rng.integers(0, 255, (8, 8)))
    (root / "more").mkdir()
    shutil.copy(root / "x.bmp", root / "copy.bmp")
    (root / "link.bmp").symlink_to("x.bmp")
    os.link(root / "x.bmp", root / "more" / "hard.bmp")
    return root


NAMES = ["x.bmp", "./x.bmp", "more//hard.bmp", "more/./hard.bmp", "copy.bmp", "link.bmp"]


def test_one_picture_under_several_names_is_one_case(pictures: Path, make_site: SiteMaker, flat: Study) -> None:
    index_of(pictures, *(f"{name},benign,P" for name in NAMES), "y.bmp,malignant,Q")
    cohort = read_cohort(make_site(pictures), flat)
    assert len(cohort.cases) == 2
    assert codes(cohort) == {"CASE-DUP": 1}
    assert "6 times" in cohort.findings[0].what


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ("malignant,P,", "image,label,patient,split"),
        ("benign,Q,", "image,label,patient,split"),
        ("benign,P,test", "image,label,patient,split"),
        ("benign,P,benign", "image,label,patient,annotated"),
    ],
    ids=["label", "patient", "split", "annotated"],
)
@pytest.mark.parametrize("name", NAMES[1:])
def test_a_copy_that_contradicts_is_left_out(
    pictures: Path, make_site: SiteMaker, flat: Study, name: str, row: str, columns: str
) -> None:
    own = "benign,P,train" if row.endswith("test") else "benign,P,"
    other = "malignant,R,train" if row.endswith("test") else "malignant,R,"
    index_of(pictures, f"x.bmp,{own}", f"{name},{row}", f"y.bmp,{other}", columns=columns)
    cohort = read_cohort(make_site(pictures), flat)
    assert codes(cohort)["CASE-CONFLICT"] == 1
    assert len(cohort.cases) == 1


def test_copies_whose_facts_are_spelt_otherwise_agree(pictures: Path, make_site: SiteMaker, flat: Study) -> None:
    rows = ["x.bmp,benign,P,val", "copy.bmp,Benign,P,validation", "y.bmp,malignant,Q,train"]
    index_of(pictures, *rows, columns="image,label,patient,split")
    assert codes(read_cohort(make_site(pictures), flat)) == {"CASE-DUP": 1}


def test_a_cell_that_can_be_no_path_is_left_out(pictures: Path, make_site: SiteMaker, flat: Study) -> None:
    index_of(pictures, "x\0.bmp,benign,P", "y.bmp,malignant,Q")
    check, _ = check_site(make_site(pictures), flat, workers=1)
    assert {finding.code for finding in check.all_findings} >= {"INDEX-PATH"}


def test_copies_without_patients_are_one_case(pictures: Path, make_site: SiteMaker, flat: Study) -> None:
    index_of(pictures, "x.bmp,benign", "copy.bmp,benign", "y.bmp,malignant", columns="image,label")
    cohort = read_cohort(make_site(pictures, patient=""), flat)
    assert (len(cohort.cases), codes(cohort)) == (2, {"CASE-DUP": 1})
    index_of(pictures, "x.bmp,benign", "copy.bmp,malignant", "y.bmp,malignant", columns="image,label")
    cohort = read_cohort(make_site(pictures, patient=""), flat)
    assert codes(cohort)["CASE-CONFLICT"] == 1


def test_a_copied_series_is_one_case(tmp_path: Path, make_site: SiteMaker, study: Study) -> None:
    root = tmp_path / "data"
    write_exams(root, ["A", "B"])
    shutil.copytree(root / "exam00", root / "backup")
    index_of(root, "exam00,benign,one", "backup,benign,one", "exam01,malignant,two")
    cohort = read_cohort(make_site(root), study)
    assert (len(cohort.cases), codes(cohort)) == (2, {"CASE-DUP": 1})
    index_of(root, "exam00,benign,one", "backup,malignant,one", "exam01,malignant,two")
    cohort = read_cohort(make_site(root), study)
    assert codes(cohort) == {"CASE-CONFLICT": 1, "LBL-NO-CLASS": 1, "SITE-ONE-PATIENT": 1}


def test_a_copy_that_lacks_a_slice_is_no_second_image(tmp_path: Path, make_site: SiteMaker, study: Study) -> None:
    root = tmp_path / "data"
    write_exams(root, ["A", "B"])
    shutil.copytree(root / "exam00", root / "backup")
    sorted((root / "backup").iterdir())[0].unlink()
    for label in ("benign", "malignant"):
        index_of(root, "exam00,benign,one", f"backup,{label},one", "exam01,malignant,two")
        assert codes(read_cohort(make_site(root), study))["CASE-CONFLICT"] == 1


def test_a_series_by_its_folder_and_by_its_uid_is_one_image(tmp_path: Path, make_site: SiteMaker, study: Study) -> None:
    root = tmp_path / "data"
    write_exams(root, ["A", "B"])
    columns = "image,label,patient,series_uid"
    for label, code in (("benign", "CASE-DUP"), ("malignant", "CASE-CONFLICT")):
        index_of(root, "exam00,benign,one,", f"exam00,{label},one,1.2.9.0", "exam01,malignant,two,", columns=columns)
        assert codes(read_cohort(make_site(root), study))[code] == 1


def test_copies_with_equal_masks_at_other_places_are_one_case(
    tmp_path: Path, make_site: SiteMaker, make_study: StudyMaker
) -> None:
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for n in range(2):
        save_picture(root / f"i{n}.png", rng.integers(0, 255, (8, 8)))
        save_picture(root / f"m{n}.png", rng.integers(0, 2, (8, 8)))
    shutil.copytree(root, root / "backup")
    study = make_study(task__dimension=2, task__modality="US")
    index_of(root, "i0.png,m0.png,P", "backup/i0.png,backup/m0.png,P", "i1.png,m1.png,Q")
    cohort = read_cohort(make_site(root), study)
    assert (len(cohort.cases), codes(cohort)) == (2, {"CASE-DUP": 1})
    index_of(root, "i0.png,m0.png,P", "backup/i0.png,backup/m1.png,P", "i1.png,m1.png,Q")
    assert "CASE-CONFLICT" in codes(read_cohort(make_site(root), study))


TRIALS = {
    "two numbers around a letter": [f"10-D-{n:04}" for n in range(8)],
    "year and letter": [f"2021_T{n:03}" for n in range(8)],
    "few of two sites": ["1-M1", "1-M2", "1-M3", "2-M1", "2-M2", "2-M3", "3-M1", "3-M2"],
    "women and men": ["101-W-05", "101-M-07", "102-W-05", "102-M-07", "103-W-01", "103-M-02", "103-W-03", "104-W-04"],
    "initials and days of birth": [f"{'MAP'[n % 3]}_196{n}0303" for n in range(8)],
    "numbers and days of birth": [f"{n // 2:02}_196{n}0303" for n in range(8)],
    "visits, as it seems": [f"P{n // 2}_visit{n % 2}" for n in range(8)],
}


@pytest.mark.parametrize("ids", TRIALS.values(), ids=TRIALS.keys())
@pytest.mark.parametrize("with_split", [True, False])
def test_patients_of_an_index_are_never_joined_by_their_spelling(
    tmp_path: Path, make_site: SiteMaker, flat: Study, ids: list[str], with_split: bool
) -> None:
    rng = np.random.default_rng(0)
    for n in range(8):
        save_picture(tmp_path / "data" / f"{n}.png", rng.integers(0, 255, (8, 8)))
    rows = [f"{n}.png,{('benign', 'malignant')[n % 2]},{one}" for n, one in enumerate(ids)]
    splits = [f",{'test' if n > 5 else 'train'}" if with_split else "" for n in range(8)]
    columns = "image,label,patient" + (",split" if with_split else "")
    index_of(tmp_path / "data", *map("".join, zip(rows, splits, strict=True)), columns=columns)
    cohort = read_cohort(make_site(tmp_path / "data"), flat)
    assert len({case.patient for case in cohort.cases}) == 8
    assert codes(cohort).keys() <= {"ID-VISIT"}


@pytest.mark.parametrize(
    ("names", "patients", "told"),
    [
        ([f"IMG_2024051{n}.png" for n in range(8)], 8, 0),
        ([f"{side}/00{n}.png" for n in range(4) for side in ("left", "right")], 8, 1),
        ([f"P{n // 2}/2020010{n + 1}/img.png" for n in range(8)], 8, 1),
        ([f"visit{n % 2}/P{n // 2}.png" for n in range(8)], 4, 1),
        ([f"benign/P{n}.png" if n < 4 else f"malignant/P{n - 4}.png" for n in range(8)], 8, 0),
    ],
)
def test_files_without_patients_are_joined_for_visits_only(
    tmp_path: Path, make_site: SiteMaker, flat: Study, names: list[str], patients: int, told: int
) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        save_picture(tmp_path / "data" / name, rng.integers(0, 255, (8, 8)))
    rows = [f"{name},{('benign', 'malignant')[n // 2 % 2]}" for n, name in enumerate(names)]
    index_of(tmp_path / "data", *rows, columns="image,label")
    cohort = read_cohort(make_site(tmp_path / "data", patient=""), flat)
    assert len({case.patient for case in cohort.cases}) == patients
    assert codes(cohort) == ({"ID-VISIT": 1} if told else {})
