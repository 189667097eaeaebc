"""A lone mask is used only if its name says the study's class, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort

IMAGE = np.random.default_rng(0).random((4, 4, 4)).astype("f4")
MASK = np.ones((4, 4, 4), "u1")


@pytest.fixture
def read(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> Callable[..., Cohort]:
    """Return a function that reads two patients whose mask has a name, in a layout."""

    def read_it(layout: str, name: str, classes: str = "background,lesion", **data: Any) -> Cohort:
        root = tmp_path / "data"
        for n in (1, 2):
            image, mask = (
                (f"sub-{n}/anat/sub-{n}_T1w", f"derivatives/x/sub-{n}/anat/sub-{n}_{name}")
                if layout == "bids"
                else (f"pat{n}/pat{n}_image", f"pat{n}/{name}")
            )
            save_nifti(root / f"{image}.nii.gz", IMAGE + n)
            save_nifti(root / f"{mask}.nii.gz", MASK)
        (root / "dataset_description.json").write_text("{}")
        names = tuple(data.pop("site_classes", ()))
        return read_cohort(make_site(root, classes=names, layout=layout, **data), make_study(task__classes=classes))

    return read_it


def codes(cohort: Cohort) -> list[str]:
    return [finding.code for finding in cohort.findings if finding.case]


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("bids", "desc-brain_mask"),
        ("bids", "space-T1w_desc-brain_mask"),
        ("bids", "label-GM_mask"),
        ("bids", "desc-aparcaseg_dseg"),
        ("bids", "desc-perilesional_mask"),
        ("folders", "brain_mask"),
        ("folders", "T1_brain_mask"),
        ("folders", "wm-seg"),
        ("folders", "brain/mask"),
        ("folders", "pat1_whiteMatter_label"),
        ("folders", "wm1_mask"),
        ("folders", "CSF2-label"),
        ("folders", "Hirn_Maske"),
        ("folders", "Lungen-Maske"),
        ("folders", "masque_poumons"),
        ("folders", "perilesional_mask"),
        ("folders", "lesion_edema_seg"),
        ("folders", "lesion_rim_mask"),
        ("folders", "not_lesion_mask"),
        ("bids", "label-LN_mask"),
    ],
)
def test_a_mask_of_something_else_is_refused(read: Any, layout: str, name: str) -> None:
    cohort = read(layout, name)
    assert not cohort.cases
    assert codes(cohort) == ["LBL-NAME", "LBL-NAME"]
    assert "brain" not in "".join(finding.what for finding in cohort.findings)  # a file's name is shown to nobody


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("bids", "mask"),
        ("bids", "dseg"),
        ("bids", "space-T1w_res-2_dseg"),
        ("bids", "label-lesion_mask"),
        ("bids", "label-L_mask"),
        ("folders", "brain_lesion_mask"),
        ("folders", "lesionen_leber_seg"),
        ("folders", "tumor_mask"),
        ("bids", "desc-lesions_mask"),
        ("bids", "desc-manualLesion_mask"),
        ("bids", "desc-lesionmask_mask"),
        ("folders", "mask"),
        ("folders", "Lesion_mask"),
        ("folders", "pat1_pat2_seg"),
        ("folders", "AB123_2024-05-01_seg_final"),
        ("folders", "segmentations/label"),
        ("folders", "t1_flair_lesion-seg"),
        ("folders", "Segmentation-Segment_1-label"),
        ("folders", "mask_JD"),
        ("folders", "seg_radiologist2"),
        ("folders", "mask_auto_v3_new"),
        ("folders", "mask_final_neu"),
        ("folders", "arterial_phase_mask"),
        ("folders", "portalvenous/mask_20240501"),
        ("folders", "Läsion_Maske"),
        ("folders", "Laesionen-seg"),
        ("folders", "manuelleLäsions_Maske"),
        ("folders", "masque_lésions"),
        ("bids", "desc-manualJD_mask"),
    ],
)
def test_a_mask_of_the_class_or_of_no_name_is_used(read: Any, layout: str, name: str) -> None:
    cohort = read(layout, name)
    assert len(cohort.cases) == 2
    assert codes(cohort) == []


@pytest.mark.parametrize(
    ("layout", "name"), [("folders", "mask_frobnicated"), ("bids", "desc-frobnicated_mask"), ("folders", "mask_Frb")]
)
def test_a_word_that_is_not_known_is_told(read: Any, layout: str, name: str) -> None:
    cohort = read(layout, name)
    (warning,) = (finding for finding in cohort.findings if finding.code == "LBL-NAME")
    assert (len(cohort.cases), warning.level) == (2, "warning")
    assert "2 cases are used as lesion, and their names have words" in warning.what
    assert "frob" not in warning.what


def test_the_name_of_the_patient_says_nothing_of_the_mask(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for n, mask in enumerate(("brain_0_mask", "brain_mask", "Brain_2_Seg")):
        save_nifti(root / f"brain_{n}" / "image.nii.gz", IMAGE + n)
        save_nifti(root / f"brain_{n}" / f"{mask}.nii.gz", MASK)
    cohort = read_cohort(make_site(root, layout="folders"), make_study(task__classes="background,lesion"))
    assert (len(cohort.cases), codes(cohort)) == (2, ["LBL-NAME"])


def test_the_site_may_name_the_mask_or_the_class(read: Any) -> None:
    assert len(read("bids", "desc-brain_mask", label="desc-brain").cases) == 2
    assert len(read("bids", "desc-brain_mask", label_names=(("brain", "lesion"),)).cases) == 2
    assert len(read("bids", "desc-brain_mask", site_classes=("nothing", "brain")).cases) == 2


def test_folders_may_name_it_by_a_pattern(read: Any) -> None:
    assert len(read("folders", "brain_mask", label="*brain_mask*").cases) == 2


def test_a_mask_of_several_classes_is_none_of_one(read: Any) -> None:
    classes = "background,liver,liver tumour"
    assert codes(read("folders", "tumour_mask", classes)) == ["LBL-NAME"] * 2


def test_a_mask_named_for_all_classes_is_used(read: Any) -> None:
    assert len(read("folders", "liver_liver-tumour_seg", "background,liver tumour,liver").cases) == 2


def test_sessions_of_several_kinds_of_image_are_not_mixed(
    tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any
) -> None:
    root = tmp_path / "data"
    for n, suffix in enumerate(("T1w", "FLAIR", "T1w", "ce-gd_T1w"), 1):
        save_nifti(root / f"sub-{n}/anat/sub-{n}_{suffix}.nii.gz", IMAGE + n)
        save_nifti(root / f"sub-{n}/anat/sub-{n}_mod-T1w_defacemask.nii.gz", MASK)
        save_nifti(root / f"derivatives/x/sub-{n}/anat/sub-{n}_mask.nii.gz", MASK)
    (root / "dataset_description.json").write_text("{}")
    mixed = read_cohort(make_site(root, layout="bids"), make_study())
    assert codes(mixed) == ["IMG-SEVERAL"] * 4
    assert "3 different kinds" in mixed.findings[0].what
    named = read_cohort(make_site(root, layout="bids", image="FLAIR"), make_study())
    assert len(named.cases) == 1


def test_a_lone_mask_is_no_image(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> None:
    root = tmp_path / "data"
    save_nifti(root / "a" / "scan.nii.gz", IMAGE)
    save_nifti(root / "b" / "brain_mask.nii.gz", MASK)
    (root / "index.csv").write_text("patient,label\na,benign\nb,malignant\n")
    study = make_study(task__kind="classification", task__classes="benign,malignant")
    cohort = read_cohort(make_site(root, layout="folders"), study)
    assert [case.image.paths[0].name for case in cohort.cases] == ["scan.nii.gz"]
    assert codes(cohort) == ["IMG-MISSING"]
