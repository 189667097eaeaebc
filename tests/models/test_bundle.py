"""Bundles: whole or absent, valid by MONAI's schema, and their README does what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from monai.bundle import ConfigParser
from safetensors import safe_open

from medfl.errors import RunError
from medfl.models.bundle import write_bundle
from medfl.models.trained_model import open_model
from medfl.study import Study
from medfl.testing.sites import make_study
from tests.models.small_models import FACTS, make_model

SCHEMA = Path(__file__).with_name("metadata_schema.json")
WHOLE = make_study(dimension=3, training={"patch": "16,16,16"})
STUDIES = {
    "patches": WHOLE,
    "whole volumes of two sequences": make_study(dimension=3, task={"channels": "T1,FLAIR"}),
    "pictures": make_study(preprocessing={"size": "32,32"}),
    "blocks alone": make_study("classification"),
    "norms replaced": make_study(
        "classification", network={"name": "resnet", "depth": 10, "width": 0.25}, preprocessing={"size": "64,64"}
    ),
    "bias field": make_study(dimension=3, preprocessing={"bias-correction": "n4"}),
}


def bundle_of(study: Study, folder: Path) -> Path:
    return write_bundle(make_model(study, trained=False), FACTS, folder).path


def code_blocks(readme: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)


@pytest.mark.parametrize("name", STUDIES)
def test_a_bundle_is_valid_and_its_readme_reproduces_the_known_output(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle_of(STUDIES[name], tmp_path / "bundle")
    jsonschema.validate(json.loads((folder / "configs/metadata.json").read_text()), json.loads(SCHEMA.read_text()))
    monkeypatch.chdir(folder)
    known = np.load("known.npz")
    assert np.abs(known["logits"]).max() > 0
    script = code_blocks(folder / "README.md")[0]
    exec(compile(script, "README.md", "exec"), {})  # it asserts by itself
    wrong = script.replace('known["input"]', 'known["input"] ** 2')
    with pytest.raises(AssertionError, match="not the same model"):
        exec(compile(wrong, "README.md", "exec"), {})


def test_an_export_is_opened_as_the_model_that_it_was(tmp_path: Path) -> None:
    model = make_model(WHOLE, trained=False)
    folder = write_bundle(model, FACTS, tmp_path / "bundle").path
    opened = open_model(folder)
    assert opened.study == model.study
    assert all(np.array_equal(opened.arrays[name], array) for name, array in model.arrays.items())


def test_the_file_of_the_weights_alone_says_what_goes_in_and_what_comes_out(tmp_path: Path) -> None:
    folder = bundle_of(WHOLE, tmp_path / "bundle")
    with safe_open(folder / "models/model.safetensors", framework="numpy") as stored:
        said: dict[str, Any] = json.loads(stored.metadata()["medfl"])
    assert "X runs to the patient's right" in said["axes"]
    assert said["classes"] == ["background", "organ"]
    assert said["network"]["target"] == "monai.networks.nets.UNet"
    assert said["network"]["arguments"]["channels"] == [4, 8]
    assert any("padded with 0" in step for step in said["preprocessing"])


@pytest.mark.parametrize(("name", "word"), [("blocks alone", "blocks"), ("bias field", "bias field")])
def test_what_a_bundle_lacks_is_said_in_it(name: str, word: str, tmp_path: Path) -> None:
    bundle = write_bundle(make_model(STUDIES[name], trained=False), FACTS, tmp_path / "bundle")
    assert not (bundle.path / "configs/inference.json").exists()
    (sentence,) = bundle.left_out
    assert word in sentence
    assert sentence in (bundle.path / "README.md").read_text()


def test_names_in_a_study_are_text_in_its_bundle(tmp_path: Path) -> None:
    """Also those of a run of an earlier version, which took them."""
    ran = tmp_path / "ran"
    classes = [
        "background",
        f"$__import__('pathlib').Path('{ran}').touch()",
        "@pred",
        "%lesion",
        "c%#d@##e",
        "a\n# b\x1b[2J",
        "<b>[x](y)|",
    ]
    channels = ("$1/0", "@dataset_dir")
    plain, hostile = (
        make_study(dimension=3, training={"patch": "16,16,16"}, task={"classes": tuple(names), "channels": sequences})
        for names, sequences in (([f"class {k}" for k in range(len(classes))], ("one", "two")), (classes, channels))
    )
    one, other = bundle_of(plain, tmp_path / "plain"), bundle_of(hostile, tmp_path / "hostile")
    run_by_monai = "configs/inference.json"
    assert (one / run_by_monai).read_bytes() == (other / run_by_monai).read_bytes()
    parser = ConfigParser()
    parser.read_config(other / run_by_monai)
    parser.read_meta(other / "configs/metadata.json")
    told = (other / "configs/metadata.json").read_text().replace("#", "::")  # MONAI's two ways to write the same sign
    assert parser.get_parsed_content("_meta_") == json.loads(told)
    assert not ran.exists()
    texts = [(folder / "README.md").read_text() for folder in (one, other)]
    headings = [[line for line in text.splitlines() if line.startswith("#")] for text in texts]
    assert headings[0] == headings[1]
    assert not re.search(r"\x1b|(?<!\\)<b>|(?<!\\)\[x", texts[1])


def test_a_readme_loads_no_program_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfl.models.bundle.export_program", lambda *_: "torch.export takes no such network.")
    folder = bundle_of(STUDIES["blocks alone"], tmp_path / "bundle")
    assert not (folder / "models/model.pt2").exists()
    readme = (folder / "README.md").read_text()
    assert code_blocks(folder / "README.md") == []
    assert "torch.export.load" not in readme
    assert "medfl.load_run" in readme


def test_nothing_is_replaced_and_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(WHOLE, trained=False)
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunError, match="EXPORT-EXISTS"):
        write_bundle(model, FACTS, tmp_path / "mine")
    with pytest.raises(RunError, match="RUN-FOLDER"):
        write_bundle(model, FACTS, Path("/proc/none/bundle"))

    def fill(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medfl.models.bundle.write_file", fill)
    with pytest.raises(RunError, match="DISK-FULL"):
        write_bundle(model, FACTS, tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
