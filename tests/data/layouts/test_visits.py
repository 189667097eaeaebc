"""Ids that say that they are visits are one person's, those that may be are told, and ids that number people are neither."""

from __future__ import annotations

import itertools

import pytest

from medfl.data.layouts.visits import group_visits

VISITS = [
    "P00 P00_visit1 P00_visit_2 P00_V2 P00_baseline P00_followup P00visit3",
    "sub-01_ses-1 sub-01_ses-2 sub-01_ses-M012 sub-01_ses-20200101 sub-01_ses-pre",
    "anna_visitA anna_visitB",
    "P00_V1_T1.nii.gz P00_V2_T1.nii.gz",
    "P1/visit1/image.nii.gz P1/Visit2/image.nii.gz",
    "visit1/P1.nii.gz visit2/P1.nii.gz",
    "P1_Besuch1 P1_Verlauf2 P1_Verlaufskontrolle_3",
    "P1_visite1 P1_suivi_2",
    "baseline_007 followup_007",
    "baseline/001.png followup/001.png",
    "ses-1_P1 ses-2_P1",
    "0012_timepoint1 0012_timepoint2",
]
NUMBERS_BEHIND = [
    "10000_1000000 10000_1000001",
    "BraTS-GLI-00000-000 BraTS-GLI-00000-001",
    "00000013_000 00000013_001 00000013_002",
    "P00_1 P00_2",
    "001_1 001_2",
    "1999_1 1999_2",
    "P1999_1 P1999_2",
    "P12_T1 P12_T2",
    "P12_v1.0 P12_v2.0",
    "P12_M00 P12_M12",
    "P12_day30 P12_d60",
]
MAY_BE_ONE_PERSON = [
    "patient001_frame01 patient001_frame12",
    "OAS1_0001_MR1 OAS1_0001_MR2",
    "OAS30001_MR_d0129 OAS30001_MR_d2430",
    "p001_slice003 p001_slice004",
    "20200101_P1 20210101_P1",
    "P1/20200101/img.png P1/20210101/img.png",
    "P12_01012020 P12_01062020",
    "P00_20240517 P00_2024-06-01 P00_01.07.2024 P00_20240801-101500",
    "P12a P12b",
    "P12left P12right",
    "TCGA-02-0001-01A TCGA-02-0001-11A",
    "patient00001/study1/view1_frontal.jpg patient00001/study2/view1_frontal.jpg",
    "p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014 "
    "p10/p10000032/s50414267/174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962",
    "left/001.png right/001.png",
    "img_left_017.png img_right_017.png",
    "101-W-05 101-M-05",
    *(f"P12_{one} P12_{other}" for one, other in (ends.split() for ends in (
        "OD OS", "left right", "l r", "links rechts", "gauche droite", "RCC LMLO", "ED ES", "wk4 wk8", "1yr 2yr", "6mo 12mo",
        "time1 time2", "CT1 CT2", "pre post", "bl fu1", "2019 2020", "CT1_img CT2_img",
    ))),
]  # fmt: skip
PEOPLE = [
    "visit1 visit2",
    "V01 V02 V03",
    "20240101_001 20240102_001",
    "20240101_001 20240101_002 20240102_001",
    "smith_l smith_r",
    "1.2.840.20240101.5 1.2.840.20240102.5",
    "007 7 07",
    "anna_v anna_b",
    "left_017_a left_018_a",
    "p1 P1",
    "12 12.0",
    "P1.png P1.jpg",
    "visit1.nii.gz visit2.nii.gz",
    "img_left_017.png img_left_018.png",
    "M_19610303 M_19620404 MUE-1961-03-03 MUE-1962-04-04",
    "IMG_20240510.png IMG_20240511.png",
    "2021_Mueller 2021_Schmidt 2021_Weber 2021_Huber 2021_Maier",
    "benign/001.png malignant/001.png",
    "site1_patient1 site1_patient2 site2_patient1 site2_patient2 site2_patient3",
]


def number(pattern: str, *counts: int, start: int = 0) -> list[str]:
    """Return ids with all numbers in braces, as many as said, of which the first begin with a number."""
    ranges = [range(start if not place else 0, count + (start if not place else 0)) for place, count in enumerate(counts)]
    return [pattern.format(*numbers) for numbers in itertools.product(*ranges)]


NUMBERED = {
    "years": [*number("2021-{:03}", 20), *number("2022-{:03}", 30), *number("2023-{:03}", 9)],
    "few in each year": ["2021-001", "2021-002", "2022-001", "2022-002", "2023-001", "2023-002"],
    "sites": number("{:02}-{:03}", 4, 20, start=10),
    "site with letter": number("10-D-{:04}", 8),
    "sites with letter": number("{}-D-{:04}", 3, 8, start=10),
    "year with letter": number("2021_T{:03}", 8),
    "years with letter": number("{}_T{:03}", 3, 8, start=2021),
    "one site with volunteers": number("2021_V{:02}", 13),
    "ADNI": ["002_S_0295", "002_S_0413", "002_S_0559", "005_S_0221", "005_S_0223", "011_S_0002", "011_S_0003", "941_S_1194"],
    "TCGA": ["TCGA-02-0001", "TCGA-02-0003", "TCGA-02-0006", "TCGA-06-0119", "TCGA-06-0122", "TCGA-DU-5849", "TCGA-DU-5851"],
    "LIDC": number("LIDC-IDRI-{:04}", 20),
    "MSD": number("hippocampus_{:03}", 20),
    "MSD of two kinds": [*number("hippocampus_{:03}", 9), *number("prostate_{:02}", 9)],
    "BraTS 2021": number("BraTS2021_{:05}", 20),
    "BraTS 2020": [*number("BraTS20_Training_{:03}", 20), *number("BraTS20_Validation_{:03}", 20)],
    "BraTS 2023, one timepoint": number("BraTS-GLI-{:05}-000", 20),
    "PI-CAI, one study each": [f"{10000 + n}_{1000000 + n}" for n in range(20)],
    "NSCLC Radiogenomics": [*number("R01-{:03}", 150), "AMC-001", "AMC-002"],
    "KiTS": number("case_{:05}", 20),
    "MM-WHS": [*number("mr_train_{}_image", 9, start=1001), *number("ct_train_{}_image", 9, start=1001)],
    "FLARE": number("FLARE22_Tr_{:04}", 20),
    "batches": number("batch{}/img{:03}.png", 2, 30),
    "sites by name": number("site{}/{:03}.png", 4, 30),
    "medical record numbers": number("{}", 30, start=1234567),
    "trial": number("NCT01234567-{:03}", 20),
    "five of one series": number("case1_{}", 5),
}  # fmt: skip
OTHERS = ["Q1", "Q2", "Q3_visit1", "Q4_visit1"]


@pytest.mark.parametrize("ids", VISITS)
def test_visits_of_one_person(ids: str) -> None:
    certain, _ = group_visits([*ids.split(), *OTHERS])
    assert certain == [sorted(ids.split())]


@pytest.mark.parametrize("ids", [*MAY_BE_ONE_PERSON, *NUMBERS_BEHIND])
def test_what_may_be_of_one_person_is_told_and_not_joined(ids: str) -> None:
    for others in (OTHERS, []) if ids in MAY_BE_ONE_PERSON else (OTHERS,):  # what nearly all begin with is a hospital
        certain, doubtful = group_visits([*ids.split(), *others])
        assert certain == []
        assert {one for group in doubtful for one in group} == set(ids.split())


@pytest.mark.parametrize("ids", PEOPLE)
def test_people(ids: str) -> None:
    assert group_visits(ids.split()) == ([], [])


@pytest.mark.parametrize("ids", NUMBERED.values(), ids=NUMBERED.keys())
def test_numbered_people_of_years_sites_and_studies(ids: list[str]) -> None:
    assert group_visits(ids) == ([], [])


def test_a_letter_that_counts_more_often_than_there_are_people_counts_people() -> None:
    for ids in (["1-V1", "1-V2", "1-V3", "2-V1", "2-V2", "2-V3"], number("101-V{:02}", 8)):
        assert group_visits(ids)[0] == []
    assert group_visits(["1-V1", "1-V2", "2-V1", "2-V2"])[0] == [["1-V1", "1-V2"], ["2-V1", "2-V2"]]
    men = ["1-M1", "1-M2", "1-M3", "2-M1", "2-M2", "2-M3"]
    assert group_visits(men)[0] == []


def test_many_of_one_person() -> None:
    slices = [f"P{patient}_{n}.png" for patient in range(4) for n in range(30)]
    certain, doubtful = group_visits(slices)
    assert (certain, [len(group) for group in doubtful]) == ([], [30, 30, 30, 30])
    for end in ("{}_M{:03}", "{}_{:04}", "{}-{:06}"):
        assert len(group_visits(number(end, 4, 3, start=101))[1]) == 4
    accessions = [f"{n // 2:04}_{12345678 + 7 * n}" for n in range(40)]
    assert [len(group) for group in group_visits(accessions)[1]] == [2] * 20
    slices = [f"{patient:03}_{n:02}.png" for patient in range(12) for n in range(30)]
    assert [len(group) for group in group_visits(slices)[1]] == [30] * 12
    visits = [f"A1_visit{n}" for n in range(20)]
    assert group_visits(visits)[0] == [sorted(visits)]
    assert group_visits([f"study_visit{n}" for n in range(20)])[0] == []
    assert group_visits(["P00_1", "P00_2", "P01_1", "P02-000", "P02-001"])[1] == [["P00_1", "P00_2"], ["P02-000", "P02-001"]]


def test_visits_under_one_issuer() -> None:
    ids = [f"P0_visit{n}\x1e{issuer}" for n, issuer in ((1, "A"), (2, "A"), (3, "B"))]
    assert group_visits(ids) == ([ids[:2]], [])
