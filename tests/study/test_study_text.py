"""The text of a new study: each key below what it means, and the same text for the same values."""

from __future__ import annotations

import tomllib
from pathlib import Path

from medfl.study import read_app
from medfl.study.key_reference import list_keys
from medfl.study.study_file import Scalar, StudyFile
from medfl.study.study_text import CHECK, write_readme, write_study_text

KEYS: dict[str, Scalar] = {
    "rounds": 2,
    "task.kind": "classification",
    "task.dimension": 2,
    "task.modality": "XR",
    "task.classes": 'a,"b"',
    "preprocessing.size": "32,32",
    "network.name": "cnn",
    "network.channels": "4,8",
    "loss.name": "cross-entropy",
    "simulation.partition": "random",
    "simulation.sites": 3,
}


def written(**why: str) -> str:
    return write_study_text("tiny", "A tiny study", KEYS, {"task.modality": "pictures do not tell."} | why, ["task.modality"])


def test_what_is_written_is_the_study_and_twice_the_same() -> None:
    text = written()
    app = read_app(StudyFile(Path(), text, tomllib.loads(text)))
    assert app.study.task.classes == ("a", '"b"')
    assert app.study.network.name == "cnn"
    assert (app.simulation.sites, app.simulation.data) == (3, ())
    assert text == written()


def test_each_key_stands_below_its_meaning() -> None:
    lines = written().splitlines()
    meanings = {key.full_name: key.meaning for key in list_keys() if not key.only}
    for key, comment in (
        ("rounds", meanings["rounds"]),
        ("kind", meanings["task.kind"]),
        ("sites", meanings["simulation.sites"]),
    ):
        at = next(k for k, line in enumerate(lines) if line.startswith(f"{key} ="))
        assert lines[at - 1] == f"# {comment}"


def test_what_must_be_looked_at_is_marked_above_its_key() -> None:
    lines = written().splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("modality ="))
    assert lines[at - 1] == f"# {CHECK}: pictures do not tell."
    assert sum(CHECK in line for line in lines) == 1


def test_the_readme_gives_the_commands_for_the_folder() -> None:
    text = write_readme("tiny", "A tiny study", "my-study", several=True)
    for command in ("study check my-study --data DATA", "simulate my-study --data DATA", "study bundle my-study"):
        assert f"medfl {command}" in text
