"""What medfl does not do is said in a sentence where a study tries it, in place of a word that looks like the one that came."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.errors import ConfigError, Problem
from medfl.study.study_app import read_app
from medfl.study.study_file import Scalar
from tests.studies import NODULE_STUDY


def refuse(folder: Path, key: str, value: Scalar) -> Problem:
    (folder / "pyproject.toml").write_text(NODULE_STUDY)
    with pytest.raises(ConfigError) as caught:
        read_app(folder, {key: value})
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("task.kind", "regression", "predicts no numbers"),
        ("task.kind", "Multi_Label", "an image has one class"),
        ("task.kind", "detection", "finds no boxes"),
        ("task.modality", "PT", "another modality"),
        ("task.modality", "RGB", "colour"),
        ("task.modality", "DX", "projection X-ray"),
        ("arms", "federated,central", "one place"),
        ("splits.folds", 5, "no cross-validation"),
        ("cross-validation", 5, "no cross-validation"),
        ("task.regions", "whole,core", "structures that overlap"),
        ("simulation.external", "hospital-c", "only tested on"),
        ("privacy.secure-aggregation", True, "secure aggregation is not there"),
    ],
)
def test_what_is_not_there_is_said_where_a_study_tries_it(key: str, value: Scalar, said: str, tmp_path: Path) -> None:
    problem = refuse(tmp_path, key, value)
    assert said in problem.what
    assert problem.fix
    assert "Did you mean" not in problem.fix


@pytest.mark.parametrize(("key", "value"), [("task.kind", "segmentasion"), ("task.modality", "CTT"), ("splits.tests", 0.2)])
def test_a_misspelt_word_is_still_one(key: str, value: Scalar, tmp_path: Path) -> None:
    assert "Did you mean" in refuse(tmp_path, key, value).fix
