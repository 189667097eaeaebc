"""What the values of masks mean, as data sets say it: read, or refused, never taken for positions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cohort import read_cohort
from medfl.data.layouts.msd import read_label_names
from medfl.data.layouts.value_names import parse_value_names
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


NAMES = ((0, "background"), (1, "liver"), (2, "ignore"))


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "liver": [1], "Ignore": 2},
        {"background": "0", "liver": "1", "ignore": "2"},
        {"background": 0.0, "liver": 1.0, "ignore": 2},
        {"0": "background", "1": "liver", "2": "ignore"},
        {"2": "Ignore", "0.0": "background", " 1": "liver"},
        {"ignore": 2, "liver": 1, "background": 0},
    ],
)
def test_names_of_values_either_way_round(labels: Any) -> None:
    assert parse_value_names(labels, "dataset.json") == NAMES


def test_numbers_may_be_names() -> None:
    assert parse_value_names({"background": 0, "1": 2, "2": 1}, "") == ((0, "background"), (1, "2"), (2, "1"))
    assert parse_value_names({"0": "background", "1": "3"}, "") == ((0, "background"), (1, "3"))
    assert parse_value_names({"0": 0, "1": 1}, "") == ((0, "0"), (1, "1"))


@pytest.mark.parametrize(
    "labels",
    [
        {},
        None,
        "liver",
        ["background", "liver"],
        {"background": "zero"},
        {"liver": []},
        {"liver": True},
        {"liver": 1.5},
        {"liver": -1},
        {"liver": None},
        {"0": "background", "x": "y"},
        {"0": "background", "liver": 1},
        {"0": "background", "1": ""},
        {"0": "background", "1": {"name": "liver"}},
        {"0": 1, "1": 0},
        {"background": 0, "liver": 1, "tumour": 1},
        {"0": "background", "1": "liver", "1.0": "tumour"},
    ],
)
def test_labels_that_are_not_understood_are_refused(labels: Any) -> None:
    with pytest.raises(DataError, match="INDEX-FORMAT"):
        parse_value_names(labels, "dataset.json")


def test_regions_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"LBL-REGIONS.*1 of the labels"):
        parse_value_names({"background": 0, "whole": [1, 2], "core": 2}, "dataset.json")


@pytest.mark.parametrize("key", ["Labels", "label", "lables", "LABELS"])
def test_a_key_that_is_nearly_labels_is_not_passed_over(key: str) -> None:
    assert read_label_names({"description": "x"}) == ()
    with pytest.raises(DataError, match=f"INDEX-FORMAT.*{key}"):
        read_label_names({key: {"background": 0, "liver": 1}})


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
