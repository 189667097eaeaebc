"""Prediction of folders: masks lie on their images, what is done stays done, and what is wrong is told."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from medfl.errors import DataError, RunError
from medfl.runs.case_table import read_case_table
from medfl.testing.sites import make_study
from tests.models.images_to_predict import PICTURES, STUDY, cube, grey, labelled_folder, picture_of, predict, save
from tests.models.threshold import threshold_model

WHOLE = make_study(dimension=3, preprocessing={"spacing": "1,1,1"})  # images in one pass, those of one shape together


def test_masks_lie_on_the_voxels_of_their_images(volumes: Path, tmp_path: Path) -> None:
    found = predict(volumes, tmp_path / "out", original_names=True)
    assert len(found.done) == 3
    assert not found.left_out
    for name, shape in (("ras", (12, 10, 9)), ("lps", (12, 10, 9)), ("turned", (14, 12, 16))):
        mask = nibabel.load(tmp_path / "out" / f"{name}.nii.gz")
        image = nibabel.load(next(volumes.glob(f"{name}.*")))
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
        assert (np.asarray(mask.dataobj) == cube(shape)).mean() > (0.97 if name == "turned" else 0.9999)
        assert np.asarray(mask.dataobj).sum() > 50
    with (tmp_path / "out" / "names.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(found.cases)
    assert {row["prediction"] for row in rows.values()} == {"ras.nii.gz", "lps.nii.gz", "turned.nii.gz"}
    assert all(row["image"].startswith(row["prediction"].partition(".")[0]) for row in rows.values())


def test_files_bear_pseudonyms_and_are_for_their_owner_alone(volumes: Path, tmp_path: Path) -> None:
    found = predict(volumes, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert "names.csv" not in names
    assert {f"{case}.nii.gz" for case in found.cases} < names
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.json"))
    assert b"turned" not in written
    assert str(tmp_path).encode() not in written
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").glob("*.*") if path.name != ".lock"}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_volumes_are_told_in_millilitres(volumes: Path, tmp_path: Path) -> None:
    predict(volumes, tmp_path / "out", original_names=True)
    table = read_case_table(tmp_path / "out" / "cases.csv")
    sizes = sorted(result.structures["organ"].predicted for result in table.results)
    assert sizes[0] == sizes[1] == pytest.approx(7 * 5 * 4 / 1000)  # blocks of 7 x 5 x 4 voxels of 1 mm3
    assert sizes[2] == pytest.approx(9 * 7 * 11 * 2 / 1000, rel=0.25)


def test_what_has_a_label_is_scored_and_what_has_none_is_predicted(tmp_path: Path) -> None:
    data = labelled_folder(tmp_path / "data")
    (data / "p2" / "label.nii.gz").unlink()
    found = predict(data, tmp_path / "out")
    patients, scores = found.scores()
    assert patients == 2
    assert scores["dice"] == scores["dice.organ"] == 1.0
    assert scores["hd95.organ"] == 0.0
    assert sorted(result.score for result in found.results if result.score == result.score) == [1.0, 1.0]
    assert len(found.results) == 3
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["scored-patients"] == 2
    assert summary["scores"]["dice"] == 1.0
    assert len(summary["cases"]) == 3


def test_a_label_that_does_not_fit_costs_the_score_alone(tmp_path: Path) -> None:
    data = labelled_folder(tmp_path / "data", 2)
    save(data / "p1" / "label.nii.gz", cube((20, 20, 20)))
    found = predict(data, tmp_path / "out")
    assert (len(found.done), found.left_out) == (2, ())
    assert [(one.code, one.level) for one in found.findings if one.code == "LBL-GEOMETRY"] == [("LBL-GEOMETRY", "warning")]
    assert found.scores()[0] == 1


def test_an_image_that_cannot_be_read_is_left_out_with_its_code(volumes: Path, tmp_path: Path) -> None:
    whole = (volumes / "turned.nii").read_bytes()
    (volumes / "turned.nii").write_bytes(whole[: len(whole) // 2])
    found = predict(volumes, tmp_path / "out")
    assert (len(found.done), len(found.left_out)) == (2, 1)
    assert [one.code for one in found.findings if one.case == found.left_out[0]] == ["NII-TRUNCATED"]


def test_an_image_of_which_the_model_gives_no_numbers_is_left_out_alone(volumes: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    def spoil_first(images: Tensor) -> None:
        sizes.append(len(images))
        if len(images) == 2:
            images[0] = torch.nan

    found = predict(volumes, tmp_path / "out", threshold_model(WHOLE, spoil_first))
    assert sizes == [2, 1]
    assert (len(found.done), len(found.left_out), found.remaining) == (2, 1, ())
    assert [(one.code, one.case) for one in found.findings] == [("EVAL-NOT-FINITE", found.left_out[0])]
    assert len(list((tmp_path / "out").glob("case-*.nii.gz"))) == 2
    nothing = predict(volumes, tmp_path / "none", threshold_model(STUDY, lambda images: images.fill_(torch.nan)))
    assert {one.code for one in nothing.findings} == {"EVAL-NOT-FINITE"}
    assert len(nothing.left_out) == 3


def test_images_that_are_too_small_for_the_network_are_left_out(volumes: Path, tmp_path: Path) -> None:
    def refuse(images: Tensor) -> None:
        if len(images) == 1:  # the one of another shape
            raise ValueError("Expected more than 1 spatial element when training")

    found = predict(volumes, tmp_path / "out", threshold_model(WHOLE, refuse))
    assert (len(found.done), [one.code for one in found.findings]) == (2, ["NET-TOO-DEEP"])


def test_a_library_that_fails_on_an_image_leaves_out_that_image_alone(volumes: Path, tmp_path: Path) -> None:
    def fail_once(images: Tensor) -> None:
        if len(images) == 1:  # the one of another shape
            raise RuntimeError("CANARY")

    found = predict(volumes, tmp_path / "out", threshold_model(WHOLE, fail_once))
    assert (len(found.done), len(found.left_out), found.remaining) == (2, 1, ())
    (failed,) = found.findings
    assert (failed.code, failed.case) == ("PRED-FAILED", found.left_out[0])
    assert "RuntimeError" in failed.what
    assert "CANARY" not in str(found.findings)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("not enough memory: you tried to allocate memory"), OSError(28, "")]
)
def test_what_the_next_image_would_meet_as_well_stops_the_folder(error: Exception, volumes: Path, tmp_path: Path) -> None:
    def fail(images: Tensor) -> None:
        raise error

    with pytest.raises(type(error)):
        predict(volumes, tmp_path / "out", threshold_model(WHOLE, fail))


def test_models_of_the_same_weights_are_told(volumes: Path, tmp_path: Path) -> None:
    found = predict(volumes, tmp_path / "out", threshold_model(STUDY), threshold_model(STUDY))
    assert [(one.code, one.level, one.case) for one in found.findings] == [("MODEL-TWICE", "warning", "")]
    assert len(found.done) == 3


def test_files_of_other_kinds_are_counted(volumes: Path, tmp_path: Path) -> None:
    for name in ("test.mgz", "notes.txt"):
        (volumes / name).write_text("something")
    found = predict(volumes, tmp_path / "out")
    assert found.files is not None
    assert found.files.counts == {"image": 3, "other": 2}
    assert predict(volumes / "ras.nii.gz", tmp_path / "one").files is None


def test_remedies_are_for_whoever_predicts(tmp_path: Path) -> None:
    save(tmp_path / "small" / "a.nii.gz", grey(cube((12, 10, 7))))
    padded = predict(tmp_path / "small", tmp_path / "out").findings
    fixes = [one.fix for one in padded if one.code == "PATCH-TOO-BIG"]
    assert fixes == ["Nothing to do: in training such images were padded as well."]
    table = tmp_path / "small" / "list.csv"
    table.write_text("file\na.nii.gz\n")
    with pytest.raises(DataError, match=r"INDEX-COLUMN.*Call the columns of the table image, label and patient"):
        predict(table, tmp_path / "table")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"DATA-EMPTY.*what the model takes: MR"):
        predict(tmp_path / "empty", tmp_path / "none")
    picture_of(cube((20, 20)), tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "list.csv").write_text("image,label\na.png,perhaps\n")
    found = predict(tmp_path / "pictures" / "list.csv", tmp_path / "classes", threshold_model(CLASSES))
    assert [one.fix for one in found.findings] == ["To have it scored, write one of no, yes; the prediction needs no label."]


@pytest.mark.parametrize(
    ("study", "masks"), [("volumes", "png"), ("pictures", "seg"), ("pictures", "labelmap"), ("classes", "nifti")]
)
def test_a_format_that_the_task_does_not_have_is_refused_before_the_work(study: str, masks: str, tmp_path: Path) -> None:
    studies = {"volumes": STUDY, "pictures": PICTURES, "classes": CLASSES}
    picture_of(cube((20, 20)), tmp_path / "data" / "a.png")
    with pytest.raises(DataError, match=r"PRED-FORMAT.*'--masks'"):
        predict(tmp_path / "data", tmp_path / "out", threshold_model(studies[study]), mask_format=masks)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [(64, 40), (33, 90), (16, 16)])
def test_masks_of_pictures_are_png_on_their_own_pixels(shape: tuple[int, int], tmp_path: Path) -> None:
    mask = cube(shape)
    picture_of(mask, tmp_path / "data" / "scan.png")
    found = predict(tmp_path / "data", tmp_path / "out", threshold_model(PICTURES), original_names=True)
    with Image.open(tmp_path / "out" / "scan.png") as written:
        values = np.array(written)
    assert values.shape == shape
    overlap = 2 * (values & mask).sum() / (values.sum() + mask.sum())
    assert overlap > 0.9
    assert found.results[0].structures["organ"].predicted > 0


def test_a_single_file_and_a_table_are_data(volumes: Path, tmp_path: Path) -> None:
    assert len(predict(volumes / "lps.nii.gz", tmp_path / "one").done) == 1
    (volumes / "list.csv").write_text("image\nras.nii.gz\nlps.nii.gz\n")
    assert len(predict(volumes / "list.csv", tmp_path / "two").done) == 2


CLASSES = make_study("classification", task={"modality": "XR"})


def test_classes_are_told_with_their_probabilities(tmp_path: Path) -> None:
    for name, half in (("a", np.s_[:, :10]), ("b", np.s_[:, 10:])):
        values = np.zeros((20, 20), dtype=np.uint8)
        values[half] = 1
        picture_of(values, tmp_path / "data" / f"{name}.png")
    (tmp_path / "data" / "list.csv").write_text("image,label\na.png,yes\nb.png,yes\n")
    found = predict(tmp_path / "data" / "list.csv", tmp_path / "out", threshold_model(CLASSES))
    assert [(result.predicted, result.truth) for result in found.results] == [("yes", "yes"), ("no", "yes")]
    assert found.results[0].probabilities["yes"] > 0.5 > found.results[1].probabilities["yes"]
    assert sum(found.results[0].probabilities.values()) == pytest.approx(1.0)
    assert found.results[1].flags == ("wrong class",)
    assert found.scores()[1]["accuracy"] == 0.5
    table = read_case_table(tmp_path / "out" / "cases.csv")
    assert [result.predicted for result in table.results] == ["yes", "no"]
    records = sorted((tmp_path / "out" / "cases").glob("case-*.json"))
    assert {json.loads(file.read_text())["result"]["predicted"] for file in records} == {"yes", "no"}


def test_a_folder_with_a_table_needs_no_patients(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture_of(cube((20, ord(name))), tmp_path / "data" / f"{name}.png")
    (tmp_path / "data" / "index.csv").write_text("image,label\na.png,yes\nb.png,\n")
    found = predict(tmp_path / "data", tmp_path / "out", threshold_model(CLASSES))
    assert [result.truth for result in found.results] == ["yes", ""]
    assert found.scores()[0] == 1


def test_pictures_in_folders_of_classes_are_predicted_one_by_one(tmp_path: Path) -> None:
    for name in ("benign/1.png", "benign/2.png", "malignant/3.png", "masks/1_mask.png"):
        picture_of(cube((20, 20 + int(name.rpartition("/")[2][0]))), tmp_path / "data" / name)
    found = predict(tmp_path / "data", tmp_path / "out", threshold_model(CLASSES))
    assert len(found.done) == 3
    assert [one.code for one in found.findings] == ["LBL-UNUSED"]


def test_several_models_are_averaged_if_they_belong_together(volumes: Path, tmp_path: Path) -> None:
    other_patch = make_study(dimension=3, training={"patch": "16,16,16"}, preprocessing={"spacing": "1,1,1"})
    found = predict(volumes, tmp_path / "out", threshold_model(STUDY), threshold_model(other_patch), original_names=True)
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "out" / "ras.nii.gz").dataobj), cube())
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model"]["version"] == "mean of 2 models"
    assert len(found.done) == 3
    other_classes = make_study(dimension=3, task={"classes": "background,tumour"}, preprocessing={"spacing": "1,1,1"})
    other_grey = make_study(dimension=3, preprocessing={"spacing": "1,1,1", "intensity": "unit"})
    for other, word in ((other_classes, "classes"), (other_grey, "preprocessing")):
        with pytest.raises(RunError, match=rf"PRED-MODELS.*{word}"):
            predict(volumes, tmp_path / "other", threshold_model(STUDY), threshold_model(other))
    assert not (tmp_path / "other").exists()


def test_probabilities_of_several_models_are_their_mean(tmp_path: Path) -> None:
    picture_of(np.pad(np.ones((20, 10), dtype=np.uint8), ((0, 0), (0, 10))), tmp_path / "data" / "a.png")
    one, two = threshold_model(CLASSES), threshold_model(CLASSES, lambda images: images.mul_(3))
    shares = [
        predict(tmp_path / "data", tmp_path / name, *models).results[0].probabilities["yes"]
        for name, models in (("one", [one]), ("two", [two]), ("both", [one, two]))
    ]
    assert shares[2] == pytest.approx((shares[0] + shares[1]) / 2, abs=1e-6)
    assert shares[1] > shares[0] + 0.01


def test_models_are_given_mirrored_images_along_the_axes_that_all_were_trained_with(volumes: Path, tmp_path: Path) -> None:
    seen: list[Tensor] = []
    studies = [
        make_study(dimension=3, preprocessing={"spacing": "1,1,1"}, augmentation={"flip": axes}) for axes in ("0,2", "2")
    ]
    models = [threshold_model(study, lambda images: seen.append(images.clone())) for study in studies]
    predict(volumes / "ras.nii.gz", tmp_path / "out", *models, flips=True)
    assert len(seen) == 4  # each model once as it is, and once along axis 2
    assert torch.equal(seen[1], seen[0].flip(4))
    assert torch.equal(seen[3], seen[2].flip(4))


def test_images_are_mirrored_along_the_axes_that_training_mirrored(volumes: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="PRED-FLIPS"):
        predict(volumes, tmp_path / "out", flips=True)
    seen: list[Tensor] = []
    study = make_study(dimension=3, preprocessing={"spacing": "1,1,1"}, augmentation={"flip": "0,2"})
    model = threshold_model(study, lambda images: seen.append(images.clone()))
    predict(volumes / "ras.nii.gz", tmp_path / "out", model, flips=True, original_names=True)
    assert len(seen) == 4
    assert torch.equal(seen[1], seen[0].flip(2))
    assert torch.equal(seen[3], seen[0].flip(2, 4))
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "out" / "ras.nii.gz").dataobj), cube())
