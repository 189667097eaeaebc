"""An index beside nnU-Net or Decathlon data says whose each case is, so that nobody trains and tests."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.layouts.case_table import case_of_cell
from medfl.data.splits import assign_splits
from medfl.errors import DataError

BOX = np.arange(1716, dtype=np.int16).reshape(11, 12, 13)
CASES = 8
PERSON_COLUMNS = ["patnr", "subj", "patient_number", "patient_code", "Pat.-Nr.", "pseudonym", "record_id", "ParticipantName"]


@pytest.fixture(params=["nnunet", "msd"])
def root(request: pytest.FixtureRequest, tmp_path: Path, save_nifti: Any) -> Path:
    """Return a data set of eight cases, `liver_0` to `liver_7`, in each of the two layouts."""
    root, number = tmp_path / "data", "_0000" if request.param == "nnunet" else ""
    for n in range(CASES):
        save_nifti(root / "imagesTr" / f"liver_{n}{number}.nii.gz", BOX + n)
        save_nifti(root / "labelsTr" / f"liver_{n}.nii.gz", (BOX - n > 800).astype(np.uint8))
    rows = [{"image": f"./imagesTr/liver_{n}.nii.gz", "label": f"./labelsTr/liver_{n}.nii.gz"} for n in range(CASES)]
    about = {"labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    about |= {"channel_names": {"0": "MR"}} if number else {"modality": {"0": "MR"}, "training": rows}
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def write_index(root: Path, header: str, row: str) -> None:
    """Write a row a case, where `{n}` is its number and `{p}` that of its patient, who has two."""
    (root / "index.csv").write_text("\n".join([header, *(row.format(n=n, p=n // 2) for n in range(CASES))]))


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings))


@pytest.mark.parametrize("case", ["liver_{n}", "liver_{n}.nii.gz", "imagesTr/liver_{n}_0000.nii.gz", "labelsTr\\liver_{n}.nii"])
def test_the_cases_of_a_patient_are_in_one_split(root: Path, make_site: Any, make_study: Any, case: str) -> None:
    assert not read_cohort(make_site(root), make_study()).patient_ids
    write_index(root, "Case,Patient", f"{case},CANARY{{p}}")
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), cohort.patient_ids, codes(cohort)) == (CASES, True, {})
    splits = defaultdict(set)
    for name, split in assign_splits(cohort.cases, make_study(), "north").items():
        splits[next(one.patient for one in cohort.cases if one.name == name)].add(split)
    assert len(splits) == CASES // 2
    assert all(len(of_patient) == 1 for of_patient in splits.values())


def test_splits_that_part_the_cases_of_a_patient_are_refused(root: Path, make_site: Any, make_study: Any) -> None:
    write_index(root, "case,patient,split", "liver_{n},{n},train")
    assert {one.split for one in read_cohort(make_site(root), make_study()).cases} == {"train"}
    index = root / "index.csv"
    index.write_text(index.read_text().replace("liver_1,1,train", "liver_1,0,test"))
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), codes(cohort)) == (CASES - 2, {"SPLIT-LEAK": 2})


def test_a_case_without_a_row_or_with_two_patients_is_not_used(root: Path, make_site: Any, make_study: Any) -> None:
    write_index(root, "case,patient", "liver_{n},{p}")
    index = root / "index.csv"
    index.write_text(index.read_text().replace("liver_7,3", "liver_0,9"))
    cohort = read_cohort(make_site(root), make_study())
    assert len(cohort.cases) == CASES - 2
    assert {code: count for code, count in codes(cohort).items() if code != "ID-NO-IMAGE"} == {
        "ID-MISSING": 1,
        "CASE-CONFLICT": 1,
    }


@pytest.mark.parametrize(
    ("header", "row", "code"),
    [
        ("case,patient_id", "liver_{n},{p}", "INDEX-COLUMN"),
        ("case,Subject ID", "liver_{n},{p}", "INDEX-COLUMN"),
        ("file,patient", "liver_{n},{p}", "INDEX-COLUMN"),
        ("case,patients", "liver_{n},{p}", "INDEX-COLUMN"),
        ("patient,age", "{p},60", "INDEX-COLUMN"),
        ("case,Patienten-ID,annotated", "liver_{n},{p},organ", "INDEX-COLUMN"),
        ("case,subj,split", "liver_{n},{p},train", "INDEX-COLUMN"),
        ("patient,subject_id,split", "liver_{n},{p},train", "INDEX-COLUMN"),
        *((f"case,{name},annotated", "liver_{n},{p},organ", "INDEX-COLUMN") for name in PERSON_COLUMNS),
        ("case,patient", "spleen_{n},{p}", "ID-MISSING"),
        ("case,patient", "liver_{n},{p},x", "INDEX-FORMAT"),
    ],
)
def test_an_index_that_is_not_understood_is_refused(
    root: Path, make_site: Any, make_study: Any, header: str, row: str, code: str
) -> None:
    write_index(root, header, row)
    with pytest.raises(DataError, match=code):
        read_cohort(make_site(root), make_study())


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("liver_{n},key{p}", 1),
        ("liver_{n},{p}", 1),
        ("liver_{n},key{n}", 0),
        ("liver_{n},female", 0),
        ("liver_{n},{p}.5", 0),
    ],
)
def test_another_column_with_values_that_repeat_is_told(
    root: Path, make_site: Any, make_study: Any, row: str, told: int
) -> None:
    write_index(root, "case,whose,split", f"{row},train")
    cohort = read_cohort(make_site(root), make_study())
    assert codes(cohort) == ({"INDEX-COLUMN": 1} if told else {})
    assert "key1" not in str(cohort.findings)
    assert codes(read_cohort(make_site(root, patient=""), make_study())) == {}
    write_index(root, "case,age,split", f"{row},train")
    assert codes(read_cohort(make_site(root), make_study())) == {}


def test_the_site_may_name_the_column_and_the_table(root: Path, make_site: Any, make_study: Any) -> None:
    write_index(root, "case,Subject ID", "liver_{n},{p}")
    (root / "index.csv").rename(root / "people.csv")
    site = make_site(root, index="people.csv", patient="subject id")
    assert len({case.patient for case in read_cohort(site, make_study()).cases}) == CASES // 2
    assert not read_cohort(make_site(root, index="people.csv", patient=""), make_study()).patient_ids
    for wrong in ({"index": "persons.csv"}, {"index": "people.csv", "patient": "subject"}):
        with pytest.raises(DataError, match="INDEX-"):
            read_cohort(make_site(root, **wrong), make_study())


def test_cells_that_name_a_case_by_a_file() -> None:
    cases = {"a_0001", "b"}
    assert case_of_cell("x/a_0001.nii.gz", cases) == "a_0001"  # a number that is the case's own
    assert case_of_cell("b_0001.nii", cases) == "b"
    assert case_of_cell("c_0001", cases) == "c_0001"


@pytest.mark.parametrize("header", ["case,split", "case,patient"])
def test_a_case_of_the_index_that_is_not_there_is_told(root: Path, make_site: Any, make_study: Any, header: str) -> None:
    write_index(root, header, "liver_{n}," + ("train" if header.endswith("split") else "X{p}"))
    with (root / "index.csv").open("a") as file:
        file.write("\nliver_8_0000.nii.gz," + ("test" if header.endswith("split") else "X0"))
    cohort = read_cohort(make_site(root), make_study())
    (finding,) = [finding for finding in cohort.findings if finding.code == "ID-NO-IMAGE"]
    assert finding.what.startswith("1 case(s)")
    assert len(cohort.cases) == CASES
