"""Each layout of a data folder gives its cases, with the patients that it names."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medfl.data.cases import Cohort, Source
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case

BOX = np.arange(120, dtype=np.int16).reshape(3, 4, 10)
MASK = (BOX > 30).astype(np.uint8)


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings))


def test_decathlon(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    for folder, array in (("imagesTr", BOX), ("labelsTr", MASK)):
        save_nifti(root / folder / "a.nii.gz", array)
    rows = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("a", "b", "._a")]
    (root / "dataset.json").write_text(json.dumps({"training": rows, "labels": {"0": "background", "1": "organ"}}))
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), cohort.patient_ids) == (1, False)
    assert codes(cohort) == {"IMG-MISSING": 1, "SITE-ONE-PATIENT": 1}


def test_nnunet_raw_with_two_channels(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    for channel in range(2):
        save_nifti(root / "imagesTr" / f"case_1_000{channel}.nii.gz", BOX + channel)
    save_nifti(root / "labelsTr" / "case_1.nii.gz", MASK)
    save_nifti(root / "labelsTr" / "case_2.nii.gz", MASK)
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".nii.gz"}))
    site, study = make_site(root), make_study(task__channels="T1,T2")
    cohort = read_cohort(site, study)
    assert codes(cohort) == {"IMG-MISSING": 1, "SITE-ONE-PATIENT": 1}
    np.testing.assert_array_equal(load_case(cohort.cases[0], study, site)[0].array[1], BOX + 1)


def test_bids_with_sessions_and_derivatives(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    for session in ("1", "2"):
        stem = f"sub-01/ses-{session}/anat/sub-01_ses-{session}"
        save_nifti(root / f"{stem}_T1w.nii.gz", BOX)
        save_nifti(root / "derivatives" / "manual" / f"{stem}_dseg.nii.gz", MASK)
    save_nifti(root / "sub-02/anat/sub-02_T1w.nii.gz", BOX)
    save_nifti(root / "sub-02/anat/sub-02_T2w.nii.gz", BOX)
    save_nifti(root / "derivatives/manual/sub-02/anat/sub-02_desc-organ_mask.nii.gz", MASK)
    save_nifti(root / "sub-03/anat/sub-03_T1w.nii.gz", BOX)
    (root / "dataset_description.json").write_text("{}")
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), len({case.patient for case in cohort.cases})) == (2, 1)
    assert codes(cohort) == {"IMG-SEVERAL": 1, "LBL-MISSING": 1, "SITE-ONE-PATIENT": 1}
    assert len(read_cohort(make_site(root, image="T1w"), make_study()).cases) == 3


def test_bids_classes_come_from_the_participants(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    for n in (1, 2):
        save_nifti(root / f"sub-{n}/anat/sub-{n}_T1w.nii.gz", BOX)
    (root / "dataset_description.json").write_text("{}")
    (root / "participants.tsv").write_text("participant_id\tdiagnosis\nsub-1\tcontrol\nsub-2\tad\n")
    study = make_study(task__kind="classification", task__classes="control,ad")
    cohort = read_cohort(make_site(root, label="diagnosis"), study)
    assert sorted(case.label for case in cohort.cases) == [0, 1]  # type: ignore[type-var]


def test_links_of_a_bids_data_set_that_lead_nowhere_are_findings(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for subject in ("sub-1", "sub-2", "sub-3"):
        image = save_nifti(root / subject / "anat" / f"{subject}_T1w.nii.gz", BOX)
        mask = save_nifti(root / "derivatives" / "manual" / subject / "anat" / f"{subject}_dseg.nii.gz", MASK)
        for path in {"sub-2": [image], "sub-3": [mask]}.get(subject, []):
            path.unlink()
            path.symlink_to(tmp_path / "annex")  # as DataLad leaves what has not been fetched
    (root / "dataset_description.json").write_text("{}")
    cohort = read_cohort(make_site(root), make_study())
    assert len(cohort.cases) == 1
    assert codes(cohort) == {"IMG-MISSING": 1, "LBL-MISSING": 1, "SITE-ONE-PATIENT": 1}


def test_one_folder_a_patient(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    for name in ("Doe_1", "Doe_2"):
        save_nifti(root / name / "image.nii.gz", BOX)
        save_nifti(root / name / "label.nii.gz", MASK)
    save_nifti(root / "Doe_3" / "t1.nii.gz", BOX)
    save_nifti(root / "Doe_4" / "image.nii.gz", BOX)
    cohort = read_cohort(make_site(root), make_study())
    assert len(cohort.cases) == 2
    assert codes(cohort) == {"IMG-MISSING": 1, "LBL-MISSING": 1}
    assert not any("Doe" in str(finding) for finding in cohort.findings)


def test_dicom_tree_keeps_patients_apart_by_their_id(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for n in range(3):
        # the first two: one patient
        write_series(root / str(n), lambda k, ds, n=n: setattr(ds, "PatientID", f"CANARY{n // 2}"))
    write_series(root / "mr", lambda k, ds: setattr(ds, "Modality", "MR"))
    (root / "README.txt").write_text("not an image")
    (root / "index.csv").write_text("patient,label\nCANARY0,a\nCANARY1,b\n")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT")
    site = make_site(root)
    cohort = read_cohort(site, study)
    assert sorted(case.label for case in cohort.cases) == [0, 0, 1]  # type: ignore[type-var]
    assert len({case.patient for case in cohort.cases}) == 2
    volume, _ = load_case(cohort.cases[0], study, site)
    assert volume.shape == (7, 5, 8)


def test_dicom_tree_without_segmentations(tmp_path: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    write_series(tmp_path / "data" / "a")
    cohort = read_cohort(make_site(tmp_path / "data"), make_study(task__modality="CT"))
    assert codes(cohort) == {"LBL-MISSING": 1}


@pytest.mark.parametrize("layout", ["dicom", "folders"])
def test_segmentations_find_their_series(
    tmp_path: Path, write_series: Any, save_seg: Any, make_site: Any, make_study: Any, layout: str
) -> None:
    root, marked = tmp_path / "data", np.zeros((7, 5, 8), dtype=bool)
    marked[1:4, 1:3, 2:4] = True
    for name in ("a", "b"):
        series = write_series(root / name / "ct", lambda k, ds, name=name: setattr(ds, "PatientID", name))
        save_seg(root / name / "seg.dcm", series, {"Organ": marked})
        write_series(root / name / "more", lambda k, ds, name=name: setattr(ds, "PatientID", name))
    site, study = make_site(root, layout=layout), make_study(task__modality="CT")
    cohort = read_cohort(site, study)
    assert len({case.patient for case in cohort.cases}) == 2
    assert codes(cohort) == ({"DCM-UNUSED-SERIES": 1} if layout == "dicom" else {})
    for case in cohort.cases:
        np.testing.assert_array_equal(load_case(case, study, site)[1], marked)


def test_images_of_one_series_keep_the_class_of_their_own_patient(
    tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    write_series(root, lambda k, ds: setattr(ds, "PatientID", f"p{k % 2}"))  # an anonymiser gave all one SeriesInstanceUID
    (root / "index.csv").write_text("patient,label\np0,a\np1,b\n")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT", task__dimension=2)
    cases = read_cohort(make_site(root, layout="dicom"), study).cases
    truth = {(int(pydicom.dcmread(case.image.paths[0]).PatientID[1]), case.label) for case in cases}
    assert (len(cases), truth) == (8, {(0, 0), (1, 1)})


def test_a_folder_in_an_index_is_a_series(
    tmp_path: Path, write_series: Any, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    write_series(root / "ct")
    (root / "index.csv").write_text("image,label,patient\nct,mask.nii,a\n")
    save_nifti(root / "mask.nii", MASK)
    case = read_cohort(make_site(root), make_study(task__modality="CT")).cases[0]
    assert case.image.kind == "dicom"
    assert len(case.image.paths) == 8
    assert case.label == Source("nifti", (root / "mask.nii",))
