"""Ids that differ in a visit or side only are one person's, and ids that number people are not."""

from __future__ import annotations

import pytest

from medfl.data.layouts.visits import group_visits


@pytest.mark.parametrize(
    "ids",
    [
        "P00 P00_visit1 P00_visit_2 P00_V2 P00_baseline P00_followup P00visit3",
        "sub-01_ses-1 sub-01_ses-2",
        "anna_visitA anna_visitB",
        "P00_20240517 P00_2024-06-01 P00_01.07.2024 P00_20240801-101500",
        "P00_M00 P00_M12 P00_6mo P00_day30",
        "P00_l P00_r P00_left",
        "P00_V1_T1.nii.gz P00_V2_T1.nii.gz",
        "P1/visit1/image.nii.gz P1/Visit2/image.nii.gz",
        "visit1/P1.nii.gz visit2/P1.nii.gz",
        "baseline_007 followup_007",
        "ses-1_P1 ses-2_P1",
        "img_left_017.png img_right_017.png",
    ],
)
def test_visits_of_one_person(ids: str) -> None:
    certain, _ = group_visits([*ids.split(), "Q1_visit1", "Q2_visit1"])
    assert certain == [sorted(ids.split())]


@pytest.mark.parametrize(
    "ids",
    [
        "visit1 visit2",
        "V01 V02 V03",
        "20240101_001 20240102_001",
        "smith_l smith_r",
        "1.2.840.20240101.5 1.2.840.20240102.5",
        "BraTS2021_00001 BraTS2021_00002",
        "007 7 07",
        "anna_v anna_b",
        "left_017_a left_018_a",
        "p1 P1",
        "P1.png P1.jpg",
        "visit1.nii.gz visit2.nii.gz",
        "img_left_017.png img_left_018.png",
    ],
)
def test_people(ids: str) -> None:
    assert group_visits(ids.split()) == ([], [])


def test_people_of_one_hospital_are_no_visits() -> None:
    numbered = [f"R01-{n:03d}" for n in range(150)]
    assert group_visits([*numbered, "AMC-001", "AMC-002"]) == ([], [])
    assert group_visits([f"case1_{n}" for n in range(5)]) == ([], [])


def test_numbers_and_many_dates_are_doubtful() -> None:
    assert group_visits(["P00_1", "P00_2", "P01_1", "P02-000", "P02-001"])[1] == [["P00_1", "P00_2"], ["P02-000", "P02-001"]]
    slices = [f"P{patient}_{n}.png" for patient in range(4) for n in range(30)]
    certain, doubtful = group_visits(slices)
    assert (certain, [len(group) for group in doubtful]) == ([], [30, 30, 30, 30])
    volunteers = [f"A1_V{n:02d}" for n in range(13)]
    assert group_visits(volunteers) == ([], [volunteers])
    visits = [f"A1_visit{n}" for n in range(20)]
    assert group_visits(visits)[0] == [sorted(visits)]
    assert group_visits([f"study_visit{n}" for n in range(20)])[0] == []


def test_visits_under_one_issuer() -> None:
    assert group_visits(["P0_V1\x1eA", "P0_V2\x1eA", "P0_V3\x1eB"])[0] == [["P0_V1\x1eA", "P0_V2\x1eA"]]
