"""Predictions that were stopped, or whose data or model changed: what is done stays done, and nothing is mixed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from medfl.data.data_folder import open_data_folder
from medfl.errors import DiskFullError, RunError
from medfl.models.folder_prediction import FolderPrediction
from medfl.models.predicted_folder import PredictionOptions
from medfl.runs.case_table import read_case_table
from tests.models.images_to_predict import STUDY, cube, grey, labelled_folder, predict, save
from tests.models.threshold import threshold_model


def test_a_second_call_does_what_has_changed(volumes: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    model = threshold_model(STUDY, lambda images: seen.append(len(images)))
    assert predict(volumes, tmp_path / "out", model).fresh == 3
    seen.clear()
    again = predict(volumes, tmp_path / "out", model)
    assert (again.fresh, len(again.done), seen) == (0, 3, [])
    save(volumes / "ras.nii.gz", grey(cube()) + 1)
    next((tmp_path / "out").glob("*.nii.gz")).unlink()
    assert predict(volumes, tmp_path / "out", model).fresh in (1, 2)  # the file that is gone may be that of the changed image
    assert predict(volumes, tmp_path / "out", model, again=True).fresh == 3


def test_a_folder_takes_predictions_of_one_model_alone(volumes: Path, tmp_path: Path) -> None:
    predict(volumes, tmp_path / "out")
    with pytest.raises(RunError, match=r"PRED-OUT.*other models or options"):
        predict(volumes, tmp_path / "out", original_names=True)
    assert predict(volumes, tmp_path / "out", original_names=True, again=True).fresh == 3
    assert not list((tmp_path / "out").glob("case-*.nii.gz"))  # those of before are gone


def test_a_folder_that_holds_something_else_is_refused(volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("precious")
    with pytest.raises(RunError, match=r"PRED-OUT.*holds other files"):
        predict(volumes, tmp_path / "out")
    with pytest.raises(RunError, match=r"PRED-OUT.*a file"):
        predict(volumes, tmp_path / "out" / "thesis.docx")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.docx"]


def test_two_calls_do_not_write_into_one_folder(volumes: Path, tmp_path: Path) -> None:
    def in_between(images: Tensor) -> None:
        with pytest.raises(RunError, match=r"PRED-OUT.*another"):
            predict(volumes, tmp_path / "out")

    assert predict(volumes, tmp_path / "out", threshold_model(STUDY, in_between)).fresh == 3


def test_what_was_done_before_an_interrupt_is_whole_and_the_rest_is_known(volumes: Path, tmp_path: Path) -> None:
    def interrupt(images: Tensor) -> None:
        if prediction.found.done:
            raise KeyboardInterrupt

    model = threshold_model(STUDY, interrupt)
    prediction = FolderPrediction([model], open_data_folder(volumes), tmp_path / "out", PredictionOptions())
    with pytest.raises(KeyboardInterrupt):
        prediction.run()
    found = prediction.found
    assert len(found.done) + len(found.remaining) == 3
    assert found.done
    assert found.remaining
    assert len(read_case_table(tmp_path / "out" / "cases.csv").results) == len(found.done)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["left"] == list(found.remaining)
    rest = predict(volumes, tmp_path / "out")
    assert (rest.fresh, len(rest.done)) == (3 - len(found.done), 3)


def test_a_full_disk_says_so_without_a_path(volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "CANARY")

    monkeypatch.setattr("medfl.data.predictions.write_file", full)
    prediction = FolderPrediction([threshold_model(STUDY)], open_data_folder(volumes), tmp_path / "out", PredictionOptions())
    with pytest.raises(DiskFullError, match="DISK-FULL") as caught:
        prediction.run()
    assert "CANARY" not in str(caught.value)
    assert len(prediction.found.remaining) == 3


def test_another_data_folder_of_the_same_names_is_refused_and_no_path_is_kept(tmp_path: Path) -> None:
    for hospital in ("one", "two"):
        save(tmp_path / hospital / "images" / "x.nii.gz", grey(cube((12 + len(hospital), 10, 9))))
    save(tmp_path / "one" / "images" / "y.nii.gz", grey(cube()))
    out = tmp_path / "out"
    first = predict(tmp_path / "one" / "images", out)
    mask = (out / f"{first.cases[0]}.nii.gz").read_bytes()
    for other in (tmp_path / "two" / "images", tmp_path / "one" / "images" / "x.nii.gz"):
        with pytest.raises(RunError, match=r"PRED-OUT.*other data"):
            predict(other, out)
    assert (out / f"{first.cases[0]}.nii.gz").read_bytes() == mask
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert predict(tmp_path / "link" / "images", out).fresh == 0
    assert str(tmp_path) not in "".join(path.read_text() for path in out.rglob("*.json"))
    assert predict(tmp_path / "two" / "images", out, again=True).fresh == 1


def test_predictions_of_images_that_are_gone_or_refused_now_are_removed(tmp_path: Path) -> None:
    data, out = labelled_folder(tmp_path / "data", 4), tmp_path / "out"
    before = predict(data, out)
    assert (len(before.done), before.removed) == (4, ())
    for part in ("image", "label"):
        (data / "p2" / f"{part}.nii.gz").unlink()
    image = data / "p0" / "image.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    after = predict(data, out)
    assert (len(after.done), len(after.left_out), after.fresh) == (2, 1, 0)
    assert set(after.removed) == set(before.cases) - set(after.done)
    assert {path.name.partition(".")[0] for path in out.rglob("case-*")} == set(after.done)
    assert json.loads((out / "summary.json").read_text())["removed"] == list(after.removed)
    assert predict(data, out).removed == ()


def test_a_new_image_may_have_the_name_of_one_that_is_gone(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    save(data / "other.nii.gz", grey(cube()))
    save(data / "a" / "x.nii.gz", grey(cube((13, 10, 9))))
    predict(data, out, original_names=True)
    (data / "a" / "x.nii.gz").rename(data / "a_x.nii.gz")
    found = predict(data, out, original_names=True)
    assert len(found.removed) == 1
    assert {path.name for path in out.glob("*.nii.gz")} == {"other.nii.gz", "a_x.nii.gz"}


def test_a_table_that_was_stopped_holds_no_case_whose_image_changed(volumes: Path, tmp_path: Path) -> None:
    def interrupt(images: Tensor) -> None:
        raise KeyboardInterrupt

    predict(volumes, tmp_path / "out")
    save(volumes / "ras.nii.gz", grey(cube()) + 1)
    with pytest.raises(KeyboardInterrupt):
        predict(volumes, tmp_path / "out", threshold_model(STUDY, interrupt))
    assert len(read_case_table(tmp_path / "out" / "cases.csv").results) == 2
