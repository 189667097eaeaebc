"""The library of models: what was added is there with its source, licence and hash, under one name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medfl.errors import RunError
from medfl.runs.model_library import add_model, find_start_file, find_weights, list_models
from medfl.study.start import Start


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFL_MODELS", str(tmp_path / "library"))
    return tmp_path / "library"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "w.pt").write_bytes(b"weights")
    return tmp_path / "w.pt"


def test_a_model_is_listed_as_it_was_added(weights: Path) -> None:
    add_model(weights, "chest", "https://example.org", "Apache-2.0")
    (model,) = list_models()
    assert (model.name, model.source, model.licence) == ("chest", "https://example.org", "Apache-2.0")
    assert model.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert model.path.read_bytes() == b"weights"


def test_a_name_is_taken_once_and_is_no_path(weights: Path, library: Path) -> None:
    add_model(weights, "chest", "there", "CC0-1.0")
    for name, what in (("chest", "has a model 'chest' already"), ("../chest", "is no name for a model")):
        with pytest.raises(RunError, match=what):
            add_model(weights, name, "there", "CC0-1.0")
    with pytest.raises(RunError, match="source or licence is empty"):
        add_model(weights, "other", "there", " ")
    assert [path.name for path in library.iterdir()] == ["chest"]


@pytest.mark.parametrize("name", ["best.safetensors", "models/model.safetensors", "models/model.pt"])
def test_folders_of_runs_exports_and_bundles_have_weights(name: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_weights(tmp_path / "folder") == path


def test_what_holds_no_weights_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    for path, what in (
        (tmp_path, "neither that of a run"),
        (tmp_path / "b.pt", "no such file"),
        (tmp_path / "a.onnx", "'.onnx'"),
    ):
        with pytest.raises(RunError, match=what):
            find_weights(path)


def test_a_start_is_found_beside_the_study_by_its_name_and_by_its_hash(weights: Path, tmp_path: Path) -> None:
    added = add_model(weights, "chest", "there", "CC0-1.0")
    assert find_start_file(Start(file="w.pt"), tmp_path) == weights
    assert find_start_file(Start(file="chest"), tmp_path) == added.path
    assert find_start_file(Start(file="other.pt", sha256=added.sha256), tmp_path / "none") == added.path
    with pytest.raises(RunError, match="START-FILE"):
        find_start_file(Start(file="other.pt", sha256="0" * 64))
