"""What the values of masks mean, as data sets say it: read, or refused, never taken for positions."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Source
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case
from medfl.errors import DataError

IMAGE = np.arange(1716, dtype=np.int16).reshape(11, 12, 13)
MASK = np.zeros(IMAGE.shape, np.uint8)
MASK[1:4, 1:4, 1:4] = 1  # 27 voxels of wm
MASK[5:9, 5:9, 5:9] = 2  # 64 of lesion
TABLE = "index\tname\n1\twm\n2\tlesion\n"
DERIVATIVE = "derivatives/fmriprep"
ANAT = "sub-01/ses-1/anat"
STEM = "sub-01_ses-1_space-T1w_desc-aseg_dseg"


@pytest.fixture
def bids(tmp_path: Path, save_nifti: Any) -> Path:
    root = tmp_path / "data"
    save_nifti(root / ANAT / "sub-01_ses-1_T1w.nii.gz", IMAGE)
    save_nifti(root / DERIVATIVE / ANAT / f"{STEM}.nii.gz", MASK)
    (root / "dataset_description.json").write_text("{}")
    return root


def codes(root: Path, make_site: Any, study: Any) -> dict[str, int]:
    found = read_cohort(make_site(root), study).findings
    return dict(Counter(finding.code for finding in found if finding.level == "error"))


def count_voxels(root: Path, make_site: Any, make_study: Any) -> tuple[int, int]:
    """Return the voxels of lesion and of wm, which the study names the other way round than the masks."""
    site, study = make_site(root), make_study(task__classes="background,lesion,wm")
    (case,) = read_cohort(site, study).cases
    label = load_case(case, study, site)[1]
    return int(np.count_nonzero(label == 1)), int(np.count_nonzero(label == 2))


@pytest.mark.parametrize(
    "place",
    [
        f"{DERIVATIVE}/{ANAT}/{STEM}.tsv",
        f"{DERIVATIVE}/{ANAT}/sub-01_dseg.tsv",
        f"{DERIVATIVE}/sub-01/ses-1/sub-01_ses-1_desc-aseg_dseg.tsv",
        f"{DERIVATIVE}/sub-01/desc-aseg_dseg.tsv",
        f"{DERIVATIVE}/desc-aseg_dseg.tsv",
        f"{DERIVATIVE}/space-T1w_dseg.TSV",
        f"{DERIVATIVE}/dseg.tsv",
        "dseg.tsv",
    ],
)
def test_the_nearest_table_above_a_mask_counts(bids: Path, make_site: Any, make_study: Any, place: str) -> None:
    (bids / place).write_text(TABLE)
    assert count_voxels(bids, make_site, make_study) == (64, 27)
    (bids / DERIVATIVE / "sub-01" / "desc-other_dseg.tsv").write_text("index\tname\n1\tlesion\n2\twm\n")  # of other masks
    (bids / DERIVATIVE / ANAT / "sub-01_ses-1_dseg.json").write_text("{}")
    assert count_voxels(bids, make_site, make_study) == (64, 27)


def test_the_nearer_and_the_more_special_table_win_and_two_alike_are_refused(
    bids: Path, make_site: Any, make_study: Any
) -> None:
    swapped = TABLE.replace("wm", "x").replace("lesion", "wm").replace("x", "lesion")
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_text(swapped)
    (bids / DERIVATIVE / ANAT / "desc-aseg_dseg.tsv").write_text(TABLE)
    (bids / DERIVATIVE / ANAT / "dseg.tsv").write_text(swapped)
    assert count_voxels(bids, make_site, make_study) == (64, 27)
    (bids / DERIVATIVE / ANAT / "sub-01_dseg.tsv").write_text(TABLE)
    assert codes(bids, make_site, make_study(task__classes="background,lesion,wm")) == {"LBL-TABLE": 1}


@pytest.mark.parametrize(
    "text",
    [
        "index\tname\n1.0\twm\n2.0\tlesion\n",
        "Index\tName\n1\twm\n2\tlesion\n",
        "\ufeffindex\tname\r\n1\twm\r\n2\tlesion\r\n",
        "name\tcolor\tINDEX\nwm\t#ff0000\t1\nlesion\t#00ff00\t2\n",
        "index\tname\tabbreviation\tmapping\n0\tbackground\tBG\t0\n1\twm\tWM\t41\n2\tlesion\tL\t1\n",
        "index\tname\n1\twm\n2\tlesion\n3\tn/a\n2\tLesion\n",
        "index,name\n1,WM\n2,Lesion\n",
    ],
)
def test_a_table_is_read_in_many_spellings(bids: Path, make_site: Any, make_study: Any, text: str) -> None:
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_bytes(text.encode())
    assert count_voxels(bids, make_site, make_study) == (64, 27)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "index\tname\n",
        "1\twm\n2\tlesion\n",
        "value\tname\n1\twm\n2\tlesion\n",
        "index\tlabel\n1\twm\n2\tlesion\n",
        "index\tname\n1\twm\n1\tlesion\n",
        "index\tname\n1\twm\nn/a\tlesion\n",
        "index\tname\n1.5\twm\n2\tlesion\n",
        "index\tname\n1\tn/a\n2\t\n",
        "index\tname\tName\n1\twm\tx\n2\tlesion\ty\n",
        "index name\n1 wm\n2 lesion\n",
        "index\tname\n1\twm\tx\n2\tlesion\n",
        'index\tname\n1\t"wm\n2\tlesion\n',
    ],
)
def test_a_table_that_is_not_understood_costs_the_masks_that_it_governs_and_no_other(
    bids: Path, save_nifti: Any, make_site: Any, make_study: Any, text: str
) -> None:
    save_nifti(bids / "sub-02/anat/sub-02_T1w.nii.gz", IMAGE + 1)
    save_nifti(bids / DERIVATIVE / "sub-02/anat/sub-02_desc-aseg_dseg.nii.gz", MASK)
    (bids / DERIVATIVE / "sub-02/anat/sub-02_desc-aseg_dseg.tsv").write_text(TABLE)
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_text(text)
    assert codes(bids, make_site, make_study(task__classes="background,lesion,wm")) == {"LBL-TABLE": 1}
    assert count_voxels(bids, make_site, make_study) == (64, 27)


def test_the_tables_count_in_every_layout(bids: Path, make_site: Any, make_study: Any) -> None:
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_text(TABLE)
    row = f"{ANAT}/sub-01_ses-1_T1w.nii.gz,{DERIVATIVE}/{ANAT}/{STEM}.nii.gz,a"
    (bids / "index.csv").write_text(f"image,label,patient\n{row}\n")
    assert count_voxels(bids, make_site, make_study) == (64, 27)


SWAPPED = {"1": "lesion", "2": "wm"}


@pytest.mark.parametrize("place", [f"{DERIVATIVE}/{ANAT}/{STEM}.json", f"{DERIVATIVE}/sub-01/sub-01_dseg.json", "dseg.json"])
@pytest.mark.parametrize("key", ["LabelMap", "Levels", "labels"])
@pytest.mark.parametrize("names", [{"1": "wm", "2": "lesion"}, {"wm": 1, "lesion": "2"}])
def test_a_sidecar_may_name_the_values(
    bids: Path, make_site: Any, make_study: Any, place: str, key: str, names: dict[str, Any]
) -> None:
    (bids / place).write_text(json.dumps({"Manual": True, key: names}))
    (bids / "desc-other_dseg.json").write_text(json.dumps({key: SWAPPED}))  # of other masks
    (bids / DERIVATIVE / "desc-aseg_dseg.json").write_text('{"Manual": true}')  # says nothing of values
    assert count_voxels(bids, make_site, make_study) == (64, 27)


def test_table_and_sidecar_must_agree(bids: Path, make_site: Any, make_study: Any) -> None:
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_text(TABLE)
    (bids / DERIVATIVE / "dseg.json").write_text(json.dumps({"LabelMap": {"1": "WM"}}))
    assert count_voxels(bids, make_site, make_study) == (64, 27)
    (bids / DERIVATIVE / "dseg.json").write_text(json.dumps({"LabelMap": SWAPPED}))
    assert codes(bids, make_site, make_study(task__classes="background,lesion,wm")) == {"LBL-TABLE": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dseg.json", '{"LabelMap": ["background", "lesion", "wm"]}'),
        ("dseg.json", '{"LabelMap": {"1": {"Description": "wm"}}}'),
        ("dseg.json", '{"LabelMap": {"1": "wm"}, "Levels": {"1": "lesion"}}'),
        ("dseg.json", "LabelMap"),
        ("labels.tsv", TABLE),
        ("label_names.csv", "value,structure\n1,wm\n2,lesion\n"),
        ("desc-aseg_labels.tsv", TABLE),
        ("desc-aseg_dseg.csv", TABLE),
        ("sub-01_LUT.txt", "# no name\n0 Unknown 0 0 0 0\n1 wm 1 1 1 0\n"),
        ("labels.json", '{"background": 0, "wm": 1, "lesion": 2}'),
        ("classes.json", '{"names": {"1": "wm", "2": "lesion"}}'),
        ("classes.json", '{"benign": 0, "malignant": 1}'),
        ("names.txt", "1 wm\n2 lesion\n"),
        ("hippo_labels.tsv", TABLE),
        ("hippo-labels.tsv", TABLE),
        ("README_labels.tsv", TABLE),
        ("klassen.csv", "Nummer;Struktur\n1;wm\n2;lesion\n"),
        (
            "itksnap.label",
            '# ITK-SnAP\n    0 0 0 0 0 0 0 "Clear Label"\n    1 255 0 0 1 1 1 "wm"\n    2 0 255 0 1 1 1 "lesion"\n',
        ),
        ("colours.ctbl", "# 3D Slicer\n0 Background 0 0 0 0\n1 wm 128 174 128 255\n"),
    ],
)
@pytest.mark.parametrize("folder", ["", DERIVATIVE, f"{DERIVATIVE}/{ANAT}"])
def test_what_seems_to_name_values_and_is_not_understood_costs_the_masks_below_it(
    bids: Path, make_site: Any, make_study: Any, folder: str, name: str, text: str
) -> None:
    (bids / folder / name).write_text(text)
    study = make_study(task__classes="background,lesion,wm")
    if not folder and not {"dseg", "aseg", "sub"} & set(re.split("[^a-z]+", name)):  # where tables of patients lie, it is told
        (warning,) = (one for one in read_cohort(make_site(bids, label="dseg"), study).findings if one.code == "LBL-TABLE")
        assert warning.level == "warning"
    else:
        assert codes(bids, make_site, study) == {"LBL-TABLE": 1}
    if "dseg.json" not in name:
        (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_text(TABLE)  # it counts, whatever the other one says
        assert count_voxels(bids, make_site, make_study) == (64, 27)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hippo.tsv", TABLE),
        ("Beschreibung.csv", "Wert;Bedeutung\n1;wm\n2;lesion\n"),
        ("readme.txt", "1 wm\n2 lesion\n"),
        ("notes.json", '{"1": "wm", "2": "lesion"}'),
    ],
)
@pytest.mark.parametrize("folder", ["", DERIVATIVE, f"{DERIVATIVE}/{ANAT}"])
def test_names_of_numbers_in_a_file_of_any_name_are_told(
    bids: Path, make_site: Any, make_study: Any, folder: str, name: str, text: str
) -> None:
    (bids / folder / name).write_text(text)
    cohort = read_cohort(make_site(bids, label="dseg"), make_study(task__classes="background,lesion,wm"))
    (warning,) = (one for one in cohort.findings if one.code == "LBL-TABLE")
    assert (len(cohort.cases), warning.level) == (1, "warning")


def test_masks_that_no_table_names_beside_masks_that_one_names_are_refused(
    bids: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    for n in range(2, 5):
        save_nifti(bids / f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz", IMAGE + n)
        save_nifti(bids / DERIVATIVE / f"sub-0{n}/anat/sub-0{n}_desc-aseg_dseg.nii.gz", MASK)
    study, site = make_study(task__classes="background,lesion,wm"), make_site(bids, label="dseg")
    assert len(read_cohort(site, study).cases) == 4
    (bids / DERIVATIVE / ANAT / f"{STEM}.tsv").write_text(TABLE)
    assert (codes(bids, make_site, study), count_voxels(bids, make_site, make_study)) == ({"LBL-TABLE": 3}, (64, 27))
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_text(TABLE)
    assert len(read_cohort(site, study).cases) == 4


@pytest.mark.parametrize("place", [f"{DERIVATIVE}/space-orig_dseg.tsv", f"{DERIVATIVE}/{ANAT}/sub-01_desc-x_dseg.tsv"])
def test_a_table_that_is_about_no_mask_is_told_and_masks_near_it_are_not_guessed(
    bids: Path, save_nifti: Any, make_site: Any, make_study: Any, place: str
) -> None:
    study = make_study(task__classes="background,lesion,wm")
    (bids / place).write_text(TABLE)
    assert codes(bids, make_site, study) == {"LBL-TABLE": 1}
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").write_text(TABLE)
    assert count_voxels(bids, make_site, make_study) == (64, 27)
    (bids / DERIVATIVE / "desc-aseg_dseg.tsv").unlink()
    part = "_".join(one for one in Path(place).stem.split("_") if not one.startswith(("sub", "dseg")))
    save_nifti(bids / DERIVATIVE / ANAT / f"sub-01_{part}_dseg.nii.gz", MASK)  # that it is about
    assert len(read_cohort(make_site(bids, label="*desc-aseg*"), study).cases) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "patient,label\n1,benign\n2,malignant\n"),
        ("labels.csv", "number,label\n1,benign\n2,benign\n"),
        ("labels.csv", "nr,subject_id,diagnosis\n1,a,benign\n2,b,malignant\n"),
        ("labels.csv", "nr,filename,diagnosis\n1,a.png,benign\n2,b.png,malignant\n"),
        ("labels.csv", "nr,bild,diagnosis\n1,a.png,benign\n2,b.png,malignant\n"),
        ("labels.csv", "nr,who,diagnosis\n1,sub-01,benign\n2,sub-02,malignant\n"),
        ("labels.csv", ""),
        ("labels.tsv", "\ufeff\n"),
        ("classes.json", ""),
        ("labels.txt", "drawn in 2 sessions\n"),
        ("classes.json", '{"sub-01": "benign"}'),
        ("sub-02_labels.tsv", TABLE),
        ("participants.tsv", "participant_id\tage\nsub-01\t60\n"),
        ("sub-01_sessions.tsv", "session_id\tage\nses-1\t60\nses-2\t61\n"),
        ("sub-01_ses-1_T1w.json", '{"FlipAngle": 9, "EchoTrainLength": 1}'),
        ("participants.json", '{"group": {"Levels": {"1": "patient", "2": "control"}}}'),
        ("README.txt", "The study has\n2 sessions\n4 raters\n"),
    ],
)
@pytest.mark.parametrize("folder", ["", DERIVATIVE])
def test_a_table_of_something_else_costs_nothing(
    bids: Path, make_site: Any, make_study: Any, folder: str, name: str, text: str
) -> None:
    (bids / folder / name).write_text(text)
    site = make_site(bids, label="dseg")  # the site says which masks are meant, so that their names are not looked at
    cohort = read_cohort(site, make_study(task__classes="background,lesion,wm"))
    (case,) = cohort.cases
    assert "LBL-TABLE" not in {finding.code for finding in cohort.findings}
    assert isinstance(case.label, Source)
    assert case.label.names == ()


def test_each_mask_of_one_folder_has_its_own_table(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root, rows = tmp_path / "data", ["image,label,patient"]
    for n in range(4):
        save_nifti(root / f"p{n}_T1w.nii.gz", IMAGE + n)
        save_nifti(root / f"p{n}_desc-aseg_dseg.nii.gz", MASK)
        (root / f"p{n}_T1w.json").write_text('{"EchoTime": 1}')
        names = ("wm", "lesion") if n % 2 else ("lesion", "wm")
        (root / f"p{n}_desc-aseg_dseg.tsv").write_text("index\tname\n1\t{}\n2\t{}\n".format(*names))
        rows.append(f"p{n}_T1w.nii.gz,p{n}_desc-aseg_dseg.nii.gz,p{n}")
    (root / "index.csv").write_text("\n".join(rows))
    site, study = make_site(root), make_study(task__classes="background,lesion,wm")
    cases = read_cohort(site, study).cases
    found = {case.image.paths[0].name[:2]: int(np.count_nonzero(load_case(case, study, site)[1] == 1)) for case in cases}
    assert found == {"p0": 27, "p1": 64, "p2": 27, "p3": 64}


@pytest.mark.parametrize("layout", ["nnunet", "msd"])
def test_a_swapped_or_doubled_name_in_a_dataset_file(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any, layout: str
) -> None:
    root = tmp_path / "data"
    name = "a_0000.nii.gz" if layout == "nnunet" else "a.nii.gz"
    save_nifti(root / "imagesTr" / name, IMAGE)
    save_nifti(root / "labelsTr" / "a.nii.gz", MASK)
    document: dict[str, Any] = {"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}
    document |= {"channel_names": {"0": "T1"}} if layout == "nnunet" else {}
    for labels in ({"background": 0, "wm": 1, "lesion": 2}, {"0": "background", "1": "wm", "2": "lesion"}):
        (root / "dataset.json").write_text(json.dumps(document | {"labels": labels}))
        assert count_voxels(root, make_site, make_study) == (64, 27)
    text = json.dumps(document | {"labels": {"background": 0, "wm": 1, "lesion": 2}})
    (root / "dataset.json").write_bytes(text.encode("utf-16"))
    assert count_voxels(root, make_site, make_study) == (64, 27)
    (root / "dataset.json").write_text(text.replace('"lesion": 2', '"wm": 2'))
    with pytest.raises(DataError, match="INDEX-FORMAT"):
        read_cohort(make_site(root), make_study())
