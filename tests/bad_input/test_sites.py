"""Problems of a whole site, its patients, splits, store and disk: each has its code and a remedy."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from medfl.data.store.cache_status import get_cache_status
from medfl.data.store.prepare import prepare, prepare_cases
from medfl.errors import DataError, DiskFullError
from tests.bad_input.hospital import Hospital, check_problem, image_of, mask_of, save, study_of

CT, SEG = study_of("classification"), study_of("segmentation")


def fill(hospital: Hospital, count: int, **columns: str) -> Hospital:
    for number in range(count):
        hospital.nifti(str(number), image_of(number))
        hospital.rows[-1] |= columns
    return hospital


def test_22_a_patient_in_two_splits(hospital: Hospital) -> None:
    fill(hospital, 4, split="train")
    for row, split in zip(hospital.rows, ("train", "train", "test", "train"), strict=True):
        row["split"] = split
    for row in hospital.rows[:3]:
        row["patient"] = "Doe Jane"
    prepared = prepare_cases(hospital.site(policy={"max_excluded": 1.0}), CT)
    assert len(prepared.cases) == 1
    words = [r"1 patient\(s\)", "in more than one split", "One patient must be in one split", "remove the column 'split'"]
    leaks = [finding for finding in prepared.findings if finding.code == "SPLIT-LEAK"]
    assert len(leaks) == 3
    for finding in leaks:
        check_problem(finding, "SPLIT-LEAK", words, hospital.folder)


def test_23_one_patient_id_for_all(hospital: Hospital) -> None:
    for name in ("a", "b", "c"):
        hospital.series(name, lambda k, ds: setattr(ds, "PatientID", "Doe"), listed=False)
    (hospital.data / "index.csv").write_text("patient,label\nDoe,well\n")
    with pytest.raises(DataError) as caught:
        prepare_cases(hospital.site(layout="dicom"), CT)
    words = ["3 studies share one PatientID", "cannot be kept apart", "pseudonymous ID for each patient", "index"]
    check_problem(caught.value, "ID-CONSTANT", words, hospital.folder)


def test_24_too_few_cases(hospital: Hospital) -> None:
    fill(hospital, 6)
    hospital.series("x", places=tuple(2.5 * k for k in (0, 1, 2, 3, 6, 7, 8, 9)))
    with pytest.raises(DataError) as caught:
        prepare(hospital.site(policy={"min_cases": 10}), CT)
    words = [
        r"\d usable training cases",
        "at least 10",
        r"excluded: 1 DCM-MISSING-SLICES",
        "Training does not start; nothing was sent",
    ]
    check_problem(caught.value, "SITE-TOO-SMALL", words, hospital.folder)


def test_24_too_many_left_out(hospital: Hospital) -> None:
    fill(hospital, 3)
    next((hospital.data / "Doe_Jane_0").iterdir()).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        prepare(hospital.site(policy={"max_excluded": 0.1}), CT)
    check_problem(
        caught.value, "SITE-EXCLUDED", ["1 of 3 cases", "33%", "10%", "1 NII-TRUNCATED", "nothing was sent"], hospital.folder
    )


def test_25_prepared_data_of_another_plan_or_of_other_files(hospital: Hospital) -> None:
    fill(hospital, 3)
    site = hospital.site()
    prepare_cases(site, CT)
    get_cache_status(site, CT).require_current()
    save(next((hospital.data / "Doe_Jane_1").iterdir()), image_of(9))
    with pytest.raises(DataError) as caught:
        get_cache_status(site, CT).require_current()
    check_problem(caught.value, "STORE-STALE", [r"source files of 1 case\(s\) have changed", "Run 'medfl data prepare' again"])
    with pytest.raises(DataError) as caught:
        get_cache_status(site, study_of("classification", **{"preprocessing.size": "9,9,9"})).require_current()
    check_problem(caught.value, "STORE-STALE", ["made with another plan", r"\([0-9a-f]{6} instead of [0-9a-f]{6}\)"])


def test_25_nothing_stale_is_used(hospital: Hospital) -> None:
    fill(hospital, 3)
    site = hospital.site()
    first = {case.name: case.image.tobytes() for case in prepare_cases(site, CT).cases}
    save(next((hospital.data / "Doe_Jane_1").iterdir()), image_of(9))
    second = {case.name: case.image.tobytes() for case in prepare_cases(site, CT).cases}
    assert sum(first[name] != second[name] for name in first) == 1


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_space_is_reported_before_anything_is_written(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hospital, 3)
    site = hospital.site()
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 10**12, 1000))
    real = os.statvfs

    def full(path: str | Path) -> os.statvfs_result:
        values = list(real(path))
        values[3] = values[4] = 0
        return os.statvfs_result(values)

    monkeypatch.setattr("os.statvfs", full)
    with pytest.raises(DiskFullError) as caught:
        prepare(site, CT)
    sizes = [r"needs about [\d.]+ [kMG]B", r"[\d.]+ [kMG]B are free"]
    check_problem(caught.value, "DISK-FULL", [*sizes, "Make room"], hospital.folder)


def test_a_volume_smaller_than_the_patch_is_padded_and_reported(hospital: Hospital) -> None:
    hospital.nifti("x", image_of(1), mask_of())
    hospital.nifti("y", image_of(2), mask_of())
    study = study_of("segmentation", **{"training.patch": "16,16,16", "preprocessing.spacing": "1,1,1"})
    for _ in range(2):  # found in the store, too
        findings = [finding for finding in hospital.prepared(study).findings if finding.code == "PATCH-TOO-BIG"]
        assert [finding.level for finding in findings] == ["warning", "warning"]
        check_problem(findings[0], "PATCH-TOO-BIG", ["12x10x10", "16x16x16", "it is padded"], hospital.folder)
    # the store is not made anew for other patches, and images that fit are not reported
    fitting = study_of("segmentation", **{"training.patch": "8,8,8", "preprocessing.spacing": "1,1,1"})
    assert "PATCH-TOO-BIG" not in {finding.code for finding in hospital.prepared(fitting).findings}
