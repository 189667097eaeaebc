"""The same patients, images, copies and contradictions give the same cohort in every layout that can hold them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.quality.site_check import check_site
from medfl.data.splits import assign_splits
from medfl.data.store.prepare import prepare_cases
from medfl.errors import DataError
from medfl.site import Policy, Site
from medfl.study import Study
from tests.data.dicom.phantom import write_slices

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]
Writer = Callable[..., Path]
PATIENTS = [f"P{n}" for n in range(8)]


@dataclass(frozen=True)
class Exam:
    """One exam: whose it is, which image it shows, and what it is labelled as."""

    patient: str
    image: int
    label: int = 1


ONE_EACH = [Exam(patient, number, number % 2) for number, patient in enumerate(PATIENTS)]
REPEATED = [*ONE_EACH, Exam("P0", 10, 0), Exam("P1", 11, 1), Exam("P1", 12, 1)]
COPIED = [*ONE_EACH, Exam("P2", 2, 0), Exam("P3", 3, 1), Exam("P3", 3, 1)]
CONTRADICTED = [*ONE_EACH, Exam("P4", 4, 1)]
STRANGERS = [*ONE_EACH, Exam("P5", 6, 0)]  # the image of another patient

LISTS = {"one each": ONE_EACH, "repeated": REPEATED, "copied": COPIED, "contradicted": CONTRADICTED, "strangers": STRANGERS}


def expected_of(exams: list[Exam], *, volumes: bool) -> tuple[Counter[str], dict[str, int]]:
    """Return how many usable cases each patient has, and what is told; by reason, not by any code of medfl's.

    Copies of DICOM are found by their UIDs before anything is read, and are one case with one finding; those of volumes in
    NIfTI are found when they are read, and each that contradicts another has a finding.
    """
    usable: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for image in {exam.image for exam in exams}:
        group = [exam for exam in exams if exam.image == image]
        if len({(exam.patient, exam.label) for exam in group}) == 1:
            usable[group[0].patient] += 1
            told["CASE-DUP"] += len(group) > 1
        else:
            told["CASE-CONFLICT"] += len(group) if volumes else 1
    return usable, {code: count for code, count in told.items() if count}


def image_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(12, 8, 8)).astype(np.float32)


def mask_of(label: int) -> np.ndarray:
    mask = np.zeros((12, 8, 8), np.uint8)
    mask[2 + label : 6, 2:5, 2:5] = 1
    return mask


def write_volumes(root: Path, save: Writer, exams: list[Exam]) -> list[tuple[Exam, str, str]]:
    listed = []
    for n, exam in enumerate(exams):
        save(root / f"i{n}.nii.gz", image_of(exam.image))
        save(root / f"m{n}.nii.gz", mask_of(exam.label))
        listed.append((exam, f"i{n}.nii.gz", f"m{n}.nii.gz"))
    return listed


def csv_of_volumes(root: Path, save: Writer, exams: list[Exam]) -> dict[str, Any]:
    rows = [f"{image},{mask},{exam.patient}" for exam, image, mask in write_volumes(root, save, exams)]
    (root / "index.csv").write_text("\n".join(["image,label,patient", *rows]))
    return {}


def bids(root: Path, save: Writer, exams: list[Exam]) -> dict[str, Any]:
    for n, exam in enumerate(exams):
        stem = f"sub-{exam.patient}/ses-{n}/anat/sub-{exam.patient}_ses-{n}"
        save(root / f"{stem}_T1w.nii.gz", image_of(exam.image))
        save(root / f"{stem}_mask.nii.gz", mask_of(exam.label))
    (root / "dataset_description.json").write_text("{}")
    return {}


def folders_of_volumes(root: Path, save: Writer, exams: list[Exam]) -> dict[str, Any]:
    for exam in exams:
        save(root / exam.patient / "image.nii.gz", image_of(exam.image))
        save(root / exam.patient / "mask.nii.gz", mask_of(exam.label))
    return {"layout": "folders"}


def nnunet(root: Path, save: Writer, exams: list[Exam]) -> dict[str, Any]:
    for exam in exams:
        save(root / f"imagesTr/{exam.patient}_0000.nii.gz", image_of(exam.image))
        save(root / f"labelsTr/{exam.patient}.nii.gz", mask_of(exam.label))
    document = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(document))
    return {}


def msd(root: Path, save: Writer, exams: list[Exam]) -> dict[str, Any]:
    for exam in exams:
        save(root / f"imagesTr/{exam.patient}.nii.gz", image_of(exam.image))
        save(root / f"labelsTr/{exam.patient}.nii.gz", mask_of(exam.label))
    rows = [{"image": f"./imagesTr/{exam.patient}.nii.gz", "label": f"./labelsTr/{exam.patient}.nii.gz"} for exam in exams]
    document = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "organ"}, "training": rows}
    (root / "dataset.json").write_text(json.dumps(document))
    return {}


def write_series(root: Path, exams: list[Exam], patients: list[str]) -> list[str]:
    """Write a series into a folder for each exam; images that are the same have the same UIDs."""
    for n, (exam, patient) in enumerate(zip(exams, patients, strict=True)):

        def change(k: int, ds: Any, exam: Exam = exam, patient: str = patient) -> None:
            ds.PatientID, ds.StudyInstanceUID = patient, f"1.2.3.{exam.image}"
            ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") + exam.image).tobytes()
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.4.{exam.image}.{k}"

        write_slices(root / f"exam{n}", None, change, shape=(8, 8), series=f"1.2.9.{exam.image}")
    return [f"exam{n}" for n in range(len(exams))]


def csv_of_series(root: Path, _: Writer, exams: list[Exam]) -> dict[str, Any]:
    folders = write_series(root, exams, [exam.patient for exam in exams])
    rows = [f"{folder},{'ab'[exam.label]},{exam.patient}" for folder, exam in zip(folders, exams, strict=True)]
    (root / "index.csv").write_text("\n".join(["image,label,patient", *rows]))
    return {}


def csv_without_patients(root: Path, _: Writer, exams: list[Exam]) -> dict[str, Any]:
    """Write an index that names no patients: the headers do."""
    csv_of_series(root, _, exams)
    return {"patient": ""}


def folders_of_series(root: Path, _: Writer, exams: list[Exam]) -> dict[str, Any]:
    """Write a folder for each exam, which says nothing of the patient: the headers do."""
    folders = write_series(root, exams, [exam.patient for exam in exams])
    rows = [f"{folder},{'ab'[exam.label]}" for folder, exam in zip(folders, exams, strict=True)]
    (root / "index.csv").write_text("\n".join(["patient,label", *rows]))
    return {"layout": "folders"}


def dicom(root: Path, _: Writer, exams: list[Exam]) -> dict[str, Any]:
    write_series(root, exams, [exam.patient for exam in exams])
    rows = {f"{exam.patient},{'ab'[exam.label]}" for exam in exams}
    (root / "index.csv").write_text("\n".join(["patient,label", *sorted(rows)]))
    return {"layout": "dicom"}


VOLUMES = [
    *((write, name) for write in (csv_of_volumes, bids) for name in LISTS),
    *((write, "one each") for write in (folders_of_volumes, nnunet, msd)),
]
NAMES = [name for name in LISTS if name != "strangers"]  # the headers of one image name one patient
SERIES = [
    *((write, name) for write in (csv_of_series, csv_without_patients, folders_of_series) for name in NAMES),
    (dicom, "one each"),
    (dicom, "repeated"),
]


def splits_of(site: Site, study: Study) -> tuple[Counter[str], dict[str, str]]:
    cohort = read_cohort(site, study)
    splits = assign_splits(cohort.cases, study, site.name)
    by_patient: dict[str, set[str]] = {}
    for case in cohort.cases:
        by_patient.setdefault(case.patient, set()).add(splits[case.name])
    assert all(len(found) == 1 for found in by_patient.values())  # nobody is in two
    return Counter(case.patient for case in cohort.cases), {patient: found.pop() for patient, found in by_patient.items()}


def compare(site: Site, study: Study, exams: list[Exam], *, volumes: bool) -> dict[str, str]:
    """Check that a site has the cases and findings that its exams should give; return the split of each patient."""
    usable, told = expected_of(exams, volumes=volumes)
    site = site.model_copy(update={"policy": Policy(min_count=0, min_cases=1, max_excluded=1.0)})
    check, prepared = check_site(site, study)[0], prepare_cases(site, study)
    for cases, findings in ((check.usable, check.all_findings), (prepared.cases, prepared.findings)):
        assert sorted(Counter(case.patient for case in cases).values()) == sorted(usable.values())  # type: ignore[attr-defined]
        codes = Counter(finding.code for finding in findings if finding.code not in ("ID-HEADER", "LBL-SHARED"))
        assert dict(codes) == told
    return splits_of(site, study)[1]


@pytest.mark.parametrize("name", LISTS)
def test_volumes_in_every_layout(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker, name: str
) -> None:
    study = make_study()
    splits = {}
    for write in (write for write, able in VOLUMES if able == name):
        root = tmp_path / write.__name__
        site = make_site(root, **write(root, save_nifti, LISTS[name]))
        splits[write.__name__] = compare(site, study, LISTS[name], volumes=True)
    assert len({tuple(sorted(found.items())) for found in splits.values()}) == 1, splits


@pytest.mark.parametrize("name", NAMES)
def test_series_in_every_layout(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker, name: str
) -> None:
    study = make_study(task__kind="classification", task__modality="CT", task__classes="a,b")
    splits = {}
    for write in (write for write, able in SERIES if able == name):
        root = tmp_path / write.__name__
        root.mkdir()
        site = make_site(root, **write(root, save_nifti, LISTS[name]))
        splits[write.__name__] = compare(site, study, LISTS[name], volumes=False)
    assert len({tuple(sorted(found.items())) for found in splits.values()}) == 1, splits


def read_series(root: Path, write: Writer, patients: list[str], make_site: SiteMaker, study: Study) -> Cohort:
    """Write an examination of each PatientID, of the layout that `write` writes, and return the cohort."""
    exams = [Exam("", number, number % 2) for number in range(len(patients))]
    root.mkdir()
    folders = write_series(root, exams, patients)
    if write is dicom:
        rows = {f"{patient},{'ab'[0]}" for patient in patients}
        (root / "index.csv").write_text("\n".join(["patient,label", *sorted(rows)]))
        return read_cohort(make_site(root, layout="dicom"), study)
    rows_of = {
        csv_of_series: ("image,label,patient", lambda n: f"{folders[n]},{'ab'[n % 2]},X{n}"),
        csv_without_patients: ("image,label", lambda n: f"{folders[n]},{'ab'[n % 2]}"),
        folders_of_series: ("patient,label", lambda n: f"{folders[n]},{'ab'[n % 2]}"),
    }
    columns, row = rows_of[write]
    (root / "index.csv").write_text("\n".join([columns, *map(row, range(len(patients)))]))
    options = {folders_of_series: {"layout": "folders"}, csv_without_patients: {"patient": ""}}.get(write, {})
    return read_cohort(make_site(root, **options), study)


def told_of_ids(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings if finding.code.startswith("ID-")))


def sizes_of(cohort: Cohort) -> list[int]:
    """Return how many cases each patient has."""
    return sorted(Counter(case.patient for case in cohort.cases).values())


@pytest.fixture
def classes(make_study: StudyMaker) -> Study:
    return make_study(task__kind="classification", task__modality="CT", task__classes="a,b")


HEADERS = [csv_of_series, csv_without_patients, folders_of_series, dicom]


@pytest.mark.parametrize("write", HEADERS)
def test_ids_of_headers_are_compared_in_every_layout(
    tmp_path: Path, make_site: SiteMaker, classes: Study, write: Writer
) -> None:
    for n, (patients, told) in enumerate(
        [
            (["007", "7", "8", "9"], {"ID-SPELLING": 1}),
            (["P1", "p1", "12.0", "12"], {"ID-SPELLING": 1}),
            (["A|1", "A|2", "A", "B"], {}),
            (["P0_visit1", "P0_V2", "P1_baseline", "P2"], {"ID-VISIT": 1}),
            (["P0_1", "P0_2", "P1", "P2"], {"ID-VISIT": 1}),
        ]
    ):
        cohort = read_series(tmp_path / str(n), write, patients, make_site, classes)
        assert told_of_ids(cohort) == told
        assert sizes_of(cohort) == [1, 1, 1, 1]
        assert not any(patient in str(cohort.findings) for patient in patients if len(patient) > 2)


@pytest.mark.parametrize("write", HEADERS)
def test_visits_of_one_patient_id_are_one_patient_unless_all_have_it(
    tmp_path: Path, make_site: SiteMaker, classes: Study, write: Writer
) -> None:
    often = read_series(tmp_path / "often", write, ["LONG"] * 10 + ["P1", "P2", "P3"], make_site, classes)
    assert sizes_of(often) == [1, 1, 1, 10]
    assert told_of_ids(often) == {"ID-CONSTANT": 1} | ({} if write is dicom else {"ID-HEADER": 1})
    few = read_series(tmp_path / "few", write, ["LONG"] * 3 + ["P1", "P2"], make_site, classes)
    assert sizes_of(few) == [1, 1, 3]
    for n, patients in enumerate((["ANON-17"] * 4, ["ANON-17"] * 19 + ["P1"])):
        if write is dicom:
            with pytest.raises(DataError, match="ID-CONSTANT"):
                read_series(tmp_path / f"all{n}", write, patients, make_site, classes)
            continue
        cohort = read_series(tmp_path / f"all{n}", write, patients, make_site, classes)
        assert sizes_of(cohort) == [1] * len(patients)
        assert told_of_ids(cohort) == {"ID-CONSTANT": 1}


def test_one_patient_of_an_index_with_most_studies_is_no_anonymiser(
    tmp_path: Path, make_site: SiteMaker, classes: Study
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    patients = ["A"] * 19 + ["B"]
    folders = write_series(root, [Exam("", number) for number in range(20)], patients)
    (root / "index.csv").write_text(
        "\n".join(["image,label,patient", *(f"{f},a,{p}" for f, p in zip(folders, patients, strict=True))])
    )
    cohort = read_cohort(make_site(root), classes)
    assert (sizes_of(cohort), told_of_ids(cohort)) == ([1, 19], {})


VISITS = [Exam("P0_visit1", 0), Exam("P0_visit2", 1), Exam("P0_V3", 2), Exam("P1", 3), Exam("P2|1", 4), Exam("P2|2", 5)]


@pytest.mark.parametrize("write", [csv_of_volumes, folders_of_volumes, nnunet, msd])
def test_visits_in_names_are_of_one_patient_unless_an_index_says_who_is_who(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker, write: Writer
) -> None:
    root = tmp_path / "data"
    options = write(root, save_nifti, VISITS)
    cohort = read_cohort(make_site(root, **options), make_study())
    joined = write is not csv_of_volumes
    assert sizes_of(cohort) == ([1, 1, 1, 3] if joined else [1] * 6)
    assert told_of_ids(cohort) == {"ID-VISIT": 2 if joined else 1}
    splits = assign_splits(cohort.cases, make_study(), "north")
    assert len({(case.patient, splits[case.name]) for case in cohort.cases}) == len({case.patient for case in cohort.cases})
    if joined:
        whose = "patient,split" if write is folders_of_volumes else "case,patient"
        rows = [f"{exam.patient},{'train' if 'split' in whose else exam.patient}" for exam in VISITS]
        (root / "index.csv").write_text("\n".join([whose, *rows]))
        cohort = read_cohort(make_site(root, **options), make_study())
        assert sizes_of(cohort) == [1] * 6
        assert told_of_ids(cohort) == {"ID-VISIT": 1}


@pytest.mark.parametrize("write", [folders_of_volumes, nnunet, msd])
def test_visits_in_names_whom_an_index_puts_into_two_splits_are_not_joined(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker, write: Writer
) -> None:
    root = tmp_path / "data"
    options = write(root, save_nifti, VISITS)
    for second, sizes in (("test", [1] * 6), ("train", [1, 1, 1, 3]), ("unlabelled", [1, 1, 1, 2])):
        rows = [f"{exam.patient},{second if 'visit2' in exam.patient else 'train'}" for exam in VISITS]
        (root / "index.csv").write_text("\n".join(["case,split", *rows]))
        cohort = read_cohort(make_site(root, **options), make_study())
        assert (len(cohort.cases), sizes_of(cohort)) == (sum(sizes), sizes)
        assert told_of_ids(cohort) == {"ID-VISIT": 1 if second == "test" else 2}


def test_a_table_finds_folders_with_bars(
    tmp_path: Path, save_nifti: Writer, make_site: SiteMaker, make_study: StudyMaker
) -> None:
    root = tmp_path / "data"
    options = folders_of_volumes(root, save_nifti, [Exam("S|1", 0), Exam("S|2", 1), Exam("nan|3", 2)])
    (root / "index.csv").write_text("patient,split\nS|1,train\nS|2,test\nnan|3,validation\n")
    cohort = read_cohort(make_site(root, **options), make_study())
    assert sorted(case.split for case in cohort.cases) == ["test", "train", "validation"]
    assert told_of_ids(cohort) == {}
