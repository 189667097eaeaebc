"""Layouts of data sets that are handed around: nnU-Net, Decathlon, BIDS."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Cohort, Source
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case
from medfl.errors import DataError

BOX = np.arange(1716, dtype=np.int16).reshape(11, 12, 13)
MASK = (BOX > 800).astype(np.uint8)


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings if finding.code != "SITE-ONE-PATIENT"))


@pytest.fixture
def nnunet(tmp_path: Path, save_nifti: Any) -> Path:
    """Return a raw data set with two channels and three cases, of which one lacks a channel and one its image."""
    root = tmp_path / "data"
    for name in ("a_0000", "a_0001", "b_0000", "._a_0000"):
        save_nifti(root / "imagesTr" / f"{name}.nii.gz", BOX)
    for name in ("a", "b", "c"):
        save_nifti(root / "labelsTr" / f"{name}.nii.gz", 2 * MASK)
    return root


def describe(root: Path, **document: Any) -> None:
    (root / "dataset.json").write_text(json.dumps(document))


def test_nnunet_says_what_values_mean_and_how_many_channels_there_are(nnunet: Path, make_site: Any, make_study: Any) -> None:
    labels = {"background": 0, "edema": 1, "organ": 2}
    describe(nnunet, channel_names={"0": "T1", "1": "T2"}, labels=labels, file_ending=".nii.gz", training=[])
    site, study = make_site(nnunet), make_study(task__channels="T1,T2")
    cohort = read_cohort(site, study)
    assert codes(cohort) == {"IMG-CHANNELS": 1, "IMG-MISSING": 1}
    (case,) = cohort.cases
    assert isinstance(case.label, Source)
    assert case.label.names == ((0, "background"), (1, "edema"), (2, "organ"))
    np.testing.assert_array_equal(load_case(case, study, site)[1], MASK)  # matched by name: 2 is the study's 1


def test_nnunet_of_the_first_version_and_of_the_list(nnunet: Path, make_site: Any, make_study: Any) -> None:
    rows = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    describe(nnunet, modality={"0": "T1", "1": "T2"}, labels={"0": "background", "2": "organ"}, training=rows)
    study = make_study(task__channels="T1,T2")
    assert len(read_cohort(make_site(nnunet), study).cases) == 1
    listed = {
        "x": {"images": ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"], "label": "labelsTr/a.nii.gz"},
        "y": {"images": ["../out.nii.gz", "imagesTr/a_0001.nii.gz"], "label": "labelsTr/a.nii.gz"},
        "z": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"},
    }
    describe(nnunet, channel_names={"0": "T1", "1": "T2"}, labels={"background": 0, "organ": 2}, dataset=listed)
    cohort = read_cohort(make_site(nnunet), study)
    assert (len(cohort.cases), codes(cohort)) == (1, {"INDEX-PATH": 1, "IMG-CHANNELS": 1})


def test_the_decathlon_names_its_values(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    save_nifti(root / "imagesTr" / "a.nii.gz", BOX)
    save_nifti(root / "labelsTr" / "a.nii.gz", 2 * MASK)
    rows = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    describe(root, modality={"0": "MRI"}, training=rows, labels={"0": "background", "1": "edema", "2": "organ"})
    site, study = make_site(root), make_study()
    (case,) = read_cohort(site, study).cases
    np.testing.assert_array_equal(load_case(case, study, site)[1], MASK)


def test_what_the_decathlon_lists_and_is_not_used_is_said(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for n in range(3):
        save_nifti(root / f"{n}.nii.gz", BOX + n)
        save_nifti(root / f"m{n}.nii.gz", MASK)
    rows = [{"image": f"{n}.nii.gz", "label": f"m{n}.nii.gz"} for n in range(3)]
    labels = {"0": "background", "1": "organ"}
    describe(root, training=rows, labels=labels, test=["./t.nii.gz"])
    assert codes(read_cohort(make_site(root), make_study())) == {}
    describe(root, training=[*rows[:1], "1.nii.gz", None], validation=rows[1:], CANARY=rows[2:], labels=labels)
    findings = [one.what for one in read_cohort(make_site(root), make_study()).findings if one.code == "LAYOUT-ROWS"]
    assert len(findings) == 2
    assert any("2 rows of 'training'" in what for what in findings)
    assert any("3 labelled cases under 'validation'," in what and "CANARY" not in what for what in findings)
    describe(root, training={"a": rows[0]}, labels=labels)
    with pytest.raises(DataError, match=r"INDEX-FORMAT.*'training'"):
        read_cohort(make_site(root), make_study())


def test_bids_tables_name_values_and_leave_classes_open(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    (root / "derivatives" / "manual").mkdir(parents=True)
    for n in (1, 2, 3):
        save_nifti(root / f"sub-{n}/anat/sub-{n}_T1w.nii.gz", BOX)
        save_nifti(root / f"derivatives/manual/sub-{n}/anat/sub-{n}_dseg.nii.gz", 2 * MASK)
    (root / "dataset_description.json").write_text("{}")
    (root / "derivatives/manual/dseg.tsv").write_text("index\tname\n0\tbackground\n2\torgan\n")
    (root / "derivatives/manual/sub-1/anat/sub-1_dseg.tsv").write_text("index\tname\n2\tbackground\n0\torgan\n")
    (root / "participants.tsv").write_text("participant_id\tdiagnosis\nsub-1\tcontrol\nsub-2\tad\nsub-3\tn/a\n")
    site, study = make_site(root), make_study()
    masks = {case.image.paths[0].name[:5]: load_case(case, study, site)[1] for case in read_cohort(site, study).cases}
    np.testing.assert_array_equal(masks["sub-2"], MASK)
    np.testing.assert_array_equal(masks["sub-1"], 1 - MASK)  # its own table wins
    classes = make_study(task__kind="classification", task__classes="control,ad")
    assert codes(read_cohort(make_site(root, label="diagnosis"), classes)) == {"LBL-MISSING": 1}


@pytest.mark.parametrize("suffix", ["DSEG", "Mask"])
def test_a_mask_of_bids_in_capitals_is_no_image(
    suffix: str, tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    save_nifti(root / "sub-1/anat/sub-1_T1w.nii.gz", BOX)
    save_nifti(root / f"sub-1/anat/sub-1_{suffix}.nii.gz", MASK)
    (root / "dataset_description.json").write_text("{}")
    (case,) = read_cohort(make_site(root), make_study()).cases
    assert case.label is not None
