"""`medfl study start` and `medfl models`: a model in, its digests in the study, and what a check and an approval say of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.clients.networks.network_builders import build_network
from medfl.deploy.study_summary import describe
from medfl.errors import ConfigError, RunError
from medfl.study import read_study


def medfl(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture(autouse=True)
def _own_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFL_MODELS", str(tmp_path / "library"))


@pytest.fixture
def weights(nodule_study: Path) -> Path:
    path = nodule_study / "weights.pt"
    state = {f"module.{name}": tensor + 0.5 for name, tensor in build_network(read_study(nodule_study)).state_dict().items()}
    torch.save({"state_dict": state}, path)
    return path


def test_a_model_goes_from_the_library_into_the_study(nodule_study: Path, weights: Path) -> None:
    before = (nodule_study / "pyproject.toml").read_text()
    added = medfl("models", "add", weights, "--name", "chest", "--source", "a paper", "--licence", "CC0-1.0")
    assert added.exit_code == 0, added.output
    (listed,) = json.loads(medfl("models", "list", "--json").stdout)
    assert (listed["name"], listed["licence"]) == ("chest", "CC0-1.0")
    done = medfl("study", "start", nodule_study, "chest")
    assert done.exit_code == 0, done.output
    assert "taken under another name" in done.stdout
    study = read_study(nodule_study)
    assert study.start.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest() == listed["sha256"]
    assert (study.start.name, study.start.source, study.start.licence) == ("chest", "a paper", "CC0-1.0")
    assert (nodule_study / "pyproject.toml").read_text().startswith(before.rstrip())
    told = "\n".join(what for _, what in describe(study))
    assert all(part in told for part in ("chest, of a paper, under CC0-1.0", study.start.sha256, study.start.arrays))
    checked = medfl("study", "check", nodule_study)
    assert checked.exit_code == 0, checked.output
    assert "starts from chest, licence CC0-1.0" in checked.stdout


def test_the_table_is_replaced_and_the_rest_of_the_text_stays(nodule_study: Path, weights: Path) -> None:
    assert medfl("study", "start", nodule_study, weights.name, "--licence", "MIT").exit_code == 0
    once = (nodule_study / "pyproject.toml").read_text()
    assert medfl("study", "start", nodule_study, weights.name).exit_code == 0
    assert (nodule_study / "pyproject.toml").read_text() == once
    assert read_study(nodule_study).start.licence == "MIT"


def test_a_study_that_trains_a_part_is_told_what_travels(nodule_study: Path, weights: Path) -> None:
    file = nodule_study / "pyproject.toml"
    file.write_text(file.read_text().replace("batch-size = 8", 'tune = "head"'))
    done = medfl("study", "start", nodule_study, weights.name)
    assert done.exit_code == 0, done.output
    assert "trained and travels: its last layer" in done.stdout
    assert "goes to each hospital once, as it is asked to join: 1.5 kB" in done.stdout
    checked = medfl("study", "check", nodule_study)
    assert "the rest stays as in the first model, which comes once, whole" in checked.stdout
    told = "\n".join(what for _, what in describe(read_study(nodule_study)))
    assert "it comes whole as your site is asked to join, and is kept there" in told
    assert "one that it gets in a later round first" not in told


@pytest.mark.parametrize(
    ("tune", "left", "enough"),
    [
        ("norm", 2, "norm,head"),
        ("*.bias", 1, "*.bias,head"),
        ("*.weight", 1, "*.weight,head"),
        ("norm,*.bias", 1, "norm,*.bias,head"),
        ("lora", 2, "lora,head"),
    ],
)
def test_a_new_head_of_which_anything_is_never_trained_as_a_whole_is_refused(
    nodule_study: Path, weights: Path, tune: str, left: int, enough: str
) -> None:
    file = nodule_study / "pyproject.toml"
    text = file.read_text().replace("batch-size = 8", f'tune = "{tune}"')
    file.write_text(text.replace('classes = "clear,nodule"', 'classes = "clear,nodule,other"'))
    refused = str(medfl("study", "start", nodule_study, weights.name, "--head", "new").exception)
    assert f"{left} tensor{'s' * (left > 1)} would be drawn anew and never be trained" in refused
    assert "lora,head" in refused
    file.write_text(file.read_text().replace(f'tune = "{tune}"', f'tune = "{enough}"'))
    assert medfl("study", "start", nodule_study, weights.name, "--head", "new").exit_code == 0


@pytest.mark.parametrize(("tune", "is_refused"), [("lora", True), ("*.bias", True), ("lora,0.*", False)])
def test_another_layer_that_the_file_lacks_has_to_be_trained_too(
    nodule_study: Path, weights: Path, tune: str, is_refused: bool
) -> None:
    state = torch.load(weights)["state_dict"]
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("module.0.")}, weights)
    file = nodule_study / "pyproject.toml"
    file.write_text(file.read_text().replace("batch-size = 8", f'tune = "{tune}"'))
    done = medfl("study", "start", nodule_study, weights.name, "--missing", "new")
    assert ("would be drawn anew and never be trained" in str(done.exception)) == is_refused
    assert (done.exit_code == 0) != is_refused


def test_a_dry_run_writes_nothing(nodule_study: Path, weights: Path) -> None:
    before = (nodule_study / "pyproject.toml").read_text()
    done = medfl("study", "start", nodule_study, weights.name, "--dry-run", "--table")
    assert done.exit_code == 0, done.output
    assert "module.0.conv.weight" in done.stdout.replace("\n", "")
    assert (nodule_study / "pyproject.toml").read_text() == before


def test_a_file_that_was_exchanged_is_told_by_the_check(nodule_study: Path, weights: Path) -> None:
    medfl("study", "start", nodule_study, weights.name)
    torch.save(build_network(read_study(nodule_study)).state_dict(), weights)
    done = medfl("study", "check", nodule_study)
    assert isinstance(done.exception, RunError)
    assert done.exception.code == "START-HASH"


def test_a_machine_without_the_file_says_so_and_is_content(nodule_study: Path, weights: Path) -> None:
    medfl("study", "start", nodule_study, weights.name)
    weights.unlink()
    done = medfl("study", "check", nodule_study)
    assert done.exit_code == 0, done.output
    assert "not on this machine" in done.stdout.replace("\n", " ")


def test_what_is_no_model_and_no_study_is_refused(nodule_study: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.pt").touch()
    for words, kind in (
        ((nodule_study, tmp_path / "elsewhere.pt"), RunError),
        ((nodule_study, "nothing"), RunError),
        ((tmp_path / "none", "nothing"), ConfigError),
    ):
        assert isinstance(medfl("study", "start", *words).exception, kind)
