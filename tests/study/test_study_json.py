"""Records of studies: what a run folder holds is enough to run the same study again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medfl.study import app_from_run_config, read_app
from medfl.study.algorithms import ALGORITHMS
from medfl.study.study_file import Scalar
from medfl.study.study_json import app_from_json, app_to_json, app_to_run_config, hash_recorded_study

SAMPLES = sorted(file.parent for file in (Path(__file__).parents[2] / "sample_configs").glob("*/pyproject.toml"))


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda folder: folder.name)
def test_a_recorded_study_is_the_same_as_a_run_configuration(folder: Path) -> None:
    app = app_from_json(app_to_json(read_app(folder)))
    assert app_from_run_config(app_to_run_config(app)) == app


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda folder: folder.name)
def test_the_hash_of_a_recorded_study_is_that_under_which_it_was_approved(folder: Path) -> None:
    study = read_app(folder).study
    record = json.loads(json.dumps(study.model_dump(mode="json", by_alias=True)))
    assert hash_recorded_study(record) == study.approved_hash()
    assert hash_recorded_study(record | {"rounds": study.rounds + 1}) != study.approved_hash()
    assert len(hash_recorded_study(record | {"a-key-that-this-version-does-not-have": 1})) == 64


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_options_of_an_algorithm_are_kept(algorithm: str) -> None:
    overrides: dict[str, Scalar] = {"strategy.name": algorithm, "optimizer.name": "sgd", "arms": "federated,local"}
    overrides |= {f"strategy.options.{key}": field for key, field in _options(algorithm).items()}
    app = read_app(SAMPLES[0], overrides)
    assert app_from_run_config(app_to_run_config(app)) == app


def test_a_record_of_a_version_that_took_a_column_without_a_word_can_be_read() -> None:
    record = app_to_json(read_app(SAMPLES[0]))
    record["simulation"] |= {"partition": "auto", "column": "site"}
    assert app_from_json(record).simulation.column == ""


def _options(algorithm: str) -> dict[str, Scalar]:
    defaults = ALGORITHMS[algorithm].options().model_dump(by_alias=True)
    return {key: value for key, value in defaults.items() if isinstance(value, bool | int | float | str)}
