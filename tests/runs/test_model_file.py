"""Model files: a model that is found alone says what it is, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as safetensors

from medfl.errors import RunError
from medfl.runs import checkpoint_files
from medfl.runs.model_file import describe_model, read_model_file
from medfl.testing.sites import make_study

STUDY = make_study()
ARRAYS = {"z.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.zeros(2, np.float32)}


def save(folder: Path) -> Path:
    about = {"arm": "federated", "site": "", "round": 2, "score": 0.75}
    return checkpoint_files.save(folder, "best", ARRAYS, {}, describe_model(STUDY, list(ARRAYS), about))


def test_a_model_file_alone_gives_the_study_and_the_tensors_in_their_order(tmp_path: Path) -> None:
    found = read_model_file(save(tmp_path).rename(tmp_path / "mailed.safetensors"))
    assert found.study == STUDY
    assert list(found.arrays) == ["z.weight", "a.bias"]
    assert all(np.array_equal(found.arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert found.about == {"arm": "federated", "site": "", "round": 2, "score": 0.75}


def test_equal_models_have_equal_files(tmp_path: Path) -> None:
    assert save(tmp_path / "one").read_bytes() == save(tmp_path / "two").read_bytes()


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(length: int, tmp_path: Path) -> None:
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RunError, match="damaged or not whole") as caught:
        read_model_file(path)
    assert caught.value.code == "MODEL-FILE"


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors.save(ARRAYS))
    with pytest.raises(RunError, match="which study trained it"):
        read_model_file(path)


def test_metadata_that_are_no_study_are_refused(tmp_path: Path) -> None:
    document = json.loads(describe_model(STUDY, list(ARRAYS), {})["medfl"])
    described = {"medfl": json.dumps(document | {"study": {"name": 3}})}
    with pytest.raises(RunError, match="damaged or not whole"):
        read_model_file(checkpoint_files.save(tmp_path, "best", ARRAYS, {}, described))


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model"])
def test_files_that_may_hold_code_are_not_opened(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(RunError, match="MODEL-FILE"):
        read_model_file(path)


def rewrite(folder: Path, change: dict[str, object] | str) -> Path:
    """Return a file whose description is changed, or is another text."""
    said = describe_model(STUDY, list(ARRAYS), {"arm": "federated", "site": "", "round": 2})["medfl"]
    described = change if isinstance(change, str) else json.dumps(json.loads(said) | change)
    return checkpoint_files.save(folder, "best", ARRAYS, {}, {"medfl": described})


@pytest.mark.parametrize(
    "change",
    [
        '{"format": 1, "a": ' + "[" * 200_000 + "]" * 200_000 + "}",
        json.dumps({"format": 1, "a": " " * 5_000_000}),
        "[]",
        {"about": {"round": "\x1b[31mred"}},
        {"about": {"round": True}},
        {"about": {"arm": "federated\nfine"}},
        {"about": {"site": ["a"]}},
        {"about": [1]},
    ],
    ids=lambda change: str(change)[:20],
)
def test_a_description_that_is_none_is_refused(change: dict[str, object] | str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="damaged or not whole") as caught:
        read_model_file(rewrite(tmp_path, change))
    assert caught.value.code == "MODEL-FILE"


def test_names_that_command_a_terminal_are_refused_in_a_file_of_others(tmp_path: Path) -> None:
    study = STUDY.model_dump(mode="json", by_alias=True)
    study["task"]["classes"][1] = "organ\x1b[2J"
    with pytest.raises(RunError, match="damaged or not whole"):
        read_model_file(rewrite(tmp_path, {"study": study}))


def test_what_a_later_version_says_beside_is_left_out(tmp_path: Path) -> None:
    found = read_model_file(rewrite(tmp_path, {"about": {"round": 2, "score": None, "mood": "\x07"}}))
    assert found.about == {"round": 2, "score": None}
