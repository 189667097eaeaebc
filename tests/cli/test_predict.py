"""`medfl predict` as somebody types it: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from medfl.cli.app import app
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.errors import MedflError
from medfl.models import folder_prediction
from medfl.runs import checkpoint_files
from medfl.runs.model_file import describe_model
from medfl.testing.sites import make_study

STUDY = make_study(dimension=3, training={"patch": "8,8,8"})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model file with the first weights of a study."""
    arrays = get_arrays(build_network(STUDY))
    meta = {"arm": "federated", "site": "", "round": 1}
    return checkpoint_files.save(tmp_path / "model", "best", arrays, meta, describe_model(STUDY, list(arrays), meta))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with two volumes whose names nobody may read elsewhere."""
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(2):
        values = np.random.default_rng(k).integers(0, 900, (9, 10, 11)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])), folder / f"CANARY-{k}.nii.gz")
    return folder


def call(*words: Any) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, words)])


def test_it_says_what_it_did_and_goes_on_where_it_was(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = call(model, images, "--out", out)
    assert first.exit_code == 0, first.output
    assert "Predicted 2 images; 0 left out." in first.output
    second = call(model, images, "--out", out)
    assert "Predicted 2 images (2 of them before); 0 left out." in second.output
    assert "CANARY" not in first.output + second.output
    assert not [path for path in out.rglob("*") if "CANARY" in path.name]


def test_a_pseudonym_leads_back_to_the_image(model: Path, images: Path, tmp_path: Path) -> None:
    call(model, images, "--out", tmp_path / "out")
    case = next((tmp_path / "out").glob("case-*.nii.gz")).name.removesuffix(".nii.gz")
    found = CliRunner().invoke(app, ["data", "whois", case, str(images)])
    assert found.exit_code == 0, found.output
    assert "CANARY-" in found.output


def test_whois_knows_what_reading_an_image_showed(model: Path, images: Path, tmp_path: Path) -> None:
    damaged = images / "CANARY-0.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    told = json.loads(call(model, images, "--out", tmp_path / "out", "--json").stdout)
    (refused,) = told["findings"]
    found = CliRunner().invoke(app, ["data", "whois", refused["case"], str(images)])
    assert f"study {STUDY.name}  {refused['code']}" in found.output


def test_it_says_what_it_removed(model: Path, images: Path, tmp_path: Path) -> None:
    call(model, images, "--out", tmp_path / "out")
    (images / "CANARY-0.nii.gz").unlink()
    assert "Removed 1 earlier prediction, of images that are not in the data" in call(
        model, images, "--out", tmp_path / "out"
    ).output.replace("\n", " ")


def test_original_names_are_used_when_asked_for_and_come_with_a_warning(model: Path, images: Path, tmp_path: Path) -> None:
    found = call(model, images, "--out", tmp_path / "out", "--names", "original")
    assert "identify patients" in found.output
    assert (tmp_path / "out" / "CANARY-0.nii.gz").is_file()
    records = [json.loads(file.read_text()) for file in (tmp_path / "out" / "cases").glob("*.json")]
    assert {record["names"]["image"] for record in records} == {"CANARY-0.nii.gz", "CANARY-1.nii.gz"}


def test_json_holds_the_cases(model: Path, images: Path, tmp_path: Path) -> None:
    found = json.loads(call(model, images, "--out", tmp_path / "out", "--json").stdout)
    assert (found["done"], found["predicted-now"], found["scored-patients"]) == (2, 2, 0)
    assert set(found["cases"][0]["result"]["structures"]) == {"organ"}


class Harm:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code of a model file was run",))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl", "model"])
def test_a_model_that_may_hold_code_is_not_opened(name: str, images: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Harm()))
    found = call(tmp_path / name, images, "--out", tmp_path / "out")
    assert isinstance(found.exception, MedflError)
    assert found.exception.code == "MODEL-FILE"
    assert ".safetensors" in str(found.exception)
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_whole_is_refused(model: Path, images: Path, tmp_path: Path) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    found = call(model, images, "--out", tmp_path / "out")
    assert isinstance(found.exception, MedflError)
    assert found.exception.code == "MODEL-FILE"


def test_an_image_with_other_channels_is_left_out_with_the_code_of_training(model: Path, images: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 900, (9, 10, 11, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), images / "time.nii.gz")
    found = call(model, images, "--out", tmp_path / "out")
    assert "NII-4D" in found.output
    assert "Predicted 2 images; 1 left out." in found.output


def test_where_nothing_could_be_predicted_no_mask_is_promised(model: Path, images: Path, tmp_path: Path) -> None:
    for path in images.glob("*.nii.gz"):
        path.write_bytes(b"no image")
    found = call(model, images, "--out", tmp_path / "out")
    assert found.exit_code == 1
    assert "Predicted 0 images" in found.output
    assert "a mask for each image" not in found.output


def test_data_that_is_not_there_is_told(model: Path, tmp_path: Path) -> None:
    found = call(model, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert isinstance(found.exception, MedflError)
    assert found.exception.code == "DATA-ROOT"


def test_data_and_place_are_looked_at_before_the_model(images: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.docx").write_text("precious")
    for data, out, code in (
        ("nowhere", "out", "DATA-ROOT"),
        ("images", "full", "PRED-OUT"),
        ("images", "images/out", "PRED-OUT"),
    ):
        found = call(tmp_path / "no-model.safetensors", tmp_path / data, "--out", tmp_path / out)
        assert isinstance(found.exception, MedflError)
        assert found.exception.code == code


def test_scores_have_their_units_and_other_files_are_counted(model: Path, images: Path, tmp_path: Path) -> None:
    for k in range(2):
        folder = images / f"patient-{k}"
        folder.mkdir()
        volume = nibabel.load(images / f"CANARY-{k}.nii.gz")
        (images / f"CANARY-{k}.nii.gz").rename(folder / "image.nii.gz")
        truth = np.zeros(volume.shape, np.uint8)
        truth[2:5, 2:5, 2:5] = 1
        nibabel.save(nibabel.Nifti1Image(truth, volume.affine), folder / "label.nii.gz")
    (images / "patient-0" / "test.mgz").write_text("something")
    found = call(model, images, "--out", tmp_path / "out")
    assert re.search(r"hd95\s+\d+\.\d mm\b", found.output)
    assert "Not used of the data folder: 1 other file." in found.output
    told = json.loads(call(model, images, "--out", tmp_path / "out", "--json").stdout)
    assert told["files"]["by-reason"] == {"image": 2, "label": 2, "other": 1}


def test_ctrl_c_names_what_is_left(model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_prediction, "finish_case", interrupt)
    found = call(model, images, "--out", tmp_path / "out")
    assert found.exit_code == 130
    assert "0 of 2 are done, and whole." in found.output
    assert found.output.count("case-") == 2
