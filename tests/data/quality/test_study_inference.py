"""Before any study exists, the task is inferred from the data, and what was assumed is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfl.data.dicom.series import read_series
from medfl.data.overview import make_overview
from medfl.data.quality.site_check import check_site
from medfl.data.quality.study_inference import infer_study
from medfl.errors import DataError
from medfl.site import Site

SiteMaker = Callable[..., Site]


def test_masks_of_an_index_mean_segmentation(volumes: Path, make_site: SiteMaker) -> None:
    study, assumed = infer_study(make_site(volumes))
    assert study.task.kind == "segmentation"
    assert study.task.dimension == 3
    assert study.task.classes == ("background", "marked")
    assert "Segmentation: the labels are masks." in assumed


def test_a_check_without_a_study_is_like_one_with_a_study(volumes: Path, make_site: SiteMaker) -> None:
    check, _ = check_site(make_site(volumes))
    assert check.study == ""
    assert check.summary() == "12 cases usable, 3 left out (1 IMG-NAN, 1 LBL-EMPTY, 1 LBL-MISSING)"


@pytest.mark.parametrize(
    "name", ["label_liver", "mask_hippocampus", "Segmentierung_Leber", "desc-liver_mask", "kidney_left_seg"]
)
@pytest.mark.parametrize("classes", [(), ("background", "tumour")])
def test_masks_may_have_any_name_while_nobody_has_named_a_class(
    tmp_path: Path, make_site: SiteMaker, save_nifti: Callable[..., Path], name: str, classes: tuple[str, ...]
) -> None:
    bids = name.startswith("desc-")
    image, mask = np.arange(512.0).reshape(8, 8, 8), np.zeros((8, 8, 8), "u1")
    mask[2:6, 2:6, 2:6] = 1
    for n in (1, 2):
        folder = tmp_path / f"data/sub-{n}" / ("anat" if bids else "")
        save_nifti(folder / (f"sub-{n}_T1w.nii.gz" if bids else "image.nii.gz"), image + n, np.diag([1.0, 1, 3, 1]))
        save_nifti(folder / (f"sub-{n}_{name}.nii.gz" if bids else f"{name}.nii.gz"), mask, np.diag([1.0, 1, 3, 1]))
    if bids:
        (tmp_path / "data/dataset_description.json").write_text("{}")
    site = make_site(tmp_path / "data", classes=classes)
    check, _ = check_site(site)
    assert check.summary().startswith("2 cases usable")
    assert "LBL-NAME" not in {finding.code for finding in check.all_findings}
    overview = make_overview(site).listed
    assert overview is not None
    assert (overview.images, overview.masks) == (2, 2)


def test_several_label_values_make_several_classes(
    tmp_path: Path, make_site: SiteMaker, save_nifti: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    for k in range(3):
        save_nifti(tmp_path / "data" / f"p{k}" / "image.nii.gz", rng.normal(size=(6, 6, 9)).astype(np.float32))
        save_nifti(tmp_path / "data" / f"p{k}" / "label.nii.gz", rng.integers(0, 4, (6, 6, 9)).astype(np.uint8))
    study, _ = infer_study(make_site(tmp_path / "data"))
    assert study.task.classes == ("background", "label 1", "label 2", "label 3")


def test_texts_of_an_index_mean_classification(tmp_path: Path, make_site: SiteMaker) -> None:
    rows = ["image,label,patient"]
    for k in range(6):
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) + k).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,{'well' if k % 2 else 'Ill'},{k}")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    study, assumed = infer_study(make_site(tmp_path))
    assert study.task.kind == "classification"
    assert study.task.dimension == 2
    assert study.task.classes == ("Ill", "well")
    assert "Classes: Ill, well; from the texts of the index." in assumed


def test_a_decathlon_tells_its_classes_and_modality(
    tmp_path: Path, make_site: SiteMaker, save_nifti: Callable[..., Path]
) -> None:
    save_nifti(tmp_path / "imagesTr" / "a.nii.gz", np.arange(216, dtype=np.float32).reshape(6, 6, 6))
    save_nifti(tmp_path / "labelsTr" / "a.nii.gz", (np.arange(216).reshape(6, 6, 6) % 3).astype(np.uint8))
    document = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "lesion"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    study, _ = infer_study(make_site(tmp_path))
    assert study.task.modality == "CT"
    assert study.task.classes == ("background", "liver", "lesion")


def test_values_as_low_as_air_mean_ct(tmp_path: Path, make_site: SiteMaker, save_nifti: Callable[..., Path]) -> None:
    for k in range(2):
        save_nifti(tmp_path / "data" / f"p{k}" / "image.nii.gz", np.linspace(-1000, 400, 216).reshape(6, 6, 6))
        save_nifti(tmp_path / "data" / f"p{k}" / "label.nii.gz", np.eye(6, dtype=np.uint8)[..., None].repeat(6, 2))
    study, assumed = infer_study(make_site(tmp_path / "data"))
    assert study.task.modality == "CT"
    assert any("air in a CT" in sentence for sentence in assumed)


def test_dicom_tells_modality_and_segments(
    tmp_path: Path, make_site: SiteMaker, write_series: Callable[..., list[Path]], save_seg: Callable[..., Path]
) -> None:
    series = write_series(tmp_path / "data" / "ct")
    shape = read_series(series).shape
    marked = np.zeros(shape, bool)
    marked[1:4, 1:3, 2:6] = True
    save_seg(tmp_path / "data" / "seg.dcm", series, {"Lesion": marked})
    study, assumed = infer_study(make_site(tmp_path / "data"))
    assert study.task.modality == "CT"
    assert study.task.classes == ("background", "Lesion")
    assert any(sentence.startswith("CT: the headers of 8 of 8") for sentence in assumed)


def test_own_class_names_come_first(volumes: Path, make_site: SiteMaker) -> None:
    study, _ = infer_study(make_site(volumes, classes=("nothing", "organ")))
    assert study.task.classes == ("nothing", "organ")


def test_a_folder_without_a_layout_is_refused_as_with_a_study(tmp_path: Path, make_site: SiteMaker) -> None:
    with pytest.raises(DataError) as caught:
        infer_study(make_site(tmp_path / "nowhere"))
    assert caught.value.code == "DATA-ROOT"


def test_images_without_any_label_are_checked_all_the_same(
    tmp_path: Path, make_site: SiteMaker, write_series: Callable[..., list[Path]]
) -> None:
    write_series(tmp_path / "data" / "whole")
    sorted(write_series(tmp_path / "data" / "lost", count=12))[4].unlink()
    check, _ = check_site(make_site(tmp_path / "data"))
    assert "No label was found, so only the images were checked." in check.assumed
    assert check.summary() == "0 cases usable, 2 left out (1 DCM-MISSING-SLICES, 1 LBL-MISSING); 1 image can be read"
    assert [case.size for case in check.left_out if case.size] == [(7, 5, 8)]


def test_one_image_of_another_form_does_not_stop_the_check_of_the_unlabelled(
    tmp_path: Path, make_site: SiteMaker, save_nifti: Callable[..., Path]
) -> None:
    rows = ["image,patient"]
    for k in range(3):
        image = np.random.default_rng(k).normal(size=(6, 6, 9)).astype(np.float32)
        image[0, 0, 0] = np.nan if k == 2 else 0
        save_nifti(tmp_path / "data" / f"{k}.nii.gz", image, np.diag([1.0, 1.0, 3.0, 1.0]))
        rows.append(f"{k}.nii.gz,{k}")
    (tmp_path / "data" / "3.mgz").write_bytes(b"no NIfTI")
    (tmp_path / "data" / "index.csv").write_text("\n".join([*rows, "3.mgz,3"]))
    check, _ = check_site(make_site(tmp_path / "data"))
    assert check.count_exclusions() == {"LBL-MISSING": 2, "IMG-FORMAT": 1, "IMG-NAN": 1}
    assert check.summary().endswith("; 2 images can be read")
    assert {row.code: row.count for row in check.count_findings() if row.level == "error"} == check.count_exclusions()
    assert check.refusal is not None
    assert "(excluded: 1 IMG-FORMAT, 1 IMG-NAN, 2 LBL-MISSING)" in check.refusal.what


def test_images_without_label_are_checked_beside_labelled_ones(volumes: Path, make_site: SiteMaker) -> None:
    spoilt = volumes / "good0-mask.nii.gz"
    spoilt.unlink()
    check, _ = check_site(make_site(volumes))
    assert "2 images have no label: they were checked by themselves." in check.assumed
    assert check.summary() == "11 cases usable, 4 left out (2 LBL-MISSING, 1 IMG-NAN, 1 LBL-EMPTY)"
    assert [case.size for case in check.left_out if case.size] == [(10, 12, 6)] * 2
    apart = [row for row in check.count_findings() if row.code == "LBL-MISSING"]
    assert [(row.level, row.count) for row in apart] == [("error", 2), ("warning", 0)]
    assert apart[1].what == "2 of 15 cases have an image but no label."


def test_the_modality_can_be_chosen(tmp_path: Path, make_site: SiteMaker, write_series: Callable[..., list[Path]]) -> None:
    write_series(tmp_path / "data" / "ct", count=9)
    write_series(tmp_path / "data" / "mr", lambda _, ds: setattr(ds, "Modality", "MR"), count=12)
    usual, _ = check_site(make_site(tmp_path / "data"))
    assert any("there are also 9 CT: choose with '--modality'" in sentence for sentence in usual.assumed)
    assert [case.size for case in usual.cases if case.size] == [(7, 5, 12)]
    chosen, _ = check_site(make_site(tmp_path / "data"), modality="CT")
    assert any(sentence.startswith("CT: chosen by '--modality'") for sentence in chosen.assumed)
    assert [case.size for case in chosen.cases if case.size] == [(7, 5, 9)]


@pytest.mark.parametrize(
    ("label", "classes"), [("Befund", ("PA", "AP")), ("Befund", ("Pneumonie", "o.B.")), ("Maske", ("x.png", "y.png"))]
)
def test_images_that_were_not_found_leave_the_kind_of_task_to_the_index(
    label: str, classes: tuple[str, str], tmp_path: Path, make_site: SiteMaker
) -> None:
    rows = [f"gone/{k}.png,{classes[k % 2]},{k}" for k in range(6)]
    (tmp_path / "index.csv").write_text("\n".join([f"image,{label},patient", *rows]))
    study, assumed = infer_study(make_site(tmp_path, label=label))
    told = " ".join(assumed)
    assert "No image was found" in told
    assert not any(text in told for text in ("no mask could be read", "no index gives classes", "first image"))
    assert (study.task.kind == "classification") == (label == "Befund")
    if label == "Befund":
        assert f"column {label!r} of the index gives classes" in told
        assert f"Classes: {', '.join(sorted(classes))}; from the texts of the index." in told
