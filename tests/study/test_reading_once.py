"""A process parses the file of a study once, whatever the command, and validates the same study once."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.simulation.simulated_run import plan_simulation
from medfl.study import Study, read_run_config, read_study, study_from_run_config


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the TOML texts of studies that are parsed, and the studies that are validated."""
    counted: Counter[str] = Counter()
    parse, validate = tomllib.loads, Study.model_validate

    def counting_parse(text: str, **options: Any) -> dict[str, Any]:
        counted["toml"] += "tool.flwr.app" in text
        return parse(text, **options)

    def counting_validate(*args: Any, **options: Any) -> Study:
        counted["study"] += 1
        return validate(*args, **options)

    monkeypatch.setattr(tomllib, "loads", counting_parse)
    monkeypatch.setattr(Study, "model_validate", counting_validate)
    return counted


def test_a_simulation_reads_its_study_once(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, read: Counter[str]
) -> None:
    simulation = plan_simulation(nodule_study, [nodule_hospitals], tmp_path / "runs", {"rounds": 1})
    simulation.start(workers=1)  # the hospitals work in processes of their own, the server in this one
    assert simulation.run.is_dir()
    assert read == {"toml": 1, "study": 1}


@pytest.mark.parametrize(
    "words",
    [
        ["study", "check", "STUDY"],
        ["study", "check", "STUDY", "--data", "DATA", "--set", "rounds=1"],
        ["study", "bundle", "STUDY", "--out", "OUT"],
        ["simulate", "STUDY", "--data", "DATA", "--out", "OUT", "--set", "rounds=1", "--workers", "1"],
    ],
    ids=" ".join,
)
def test_a_command_parses_each_text_of_a_study_once(
    words: list[str], nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, parsed: Counter[str]
) -> None:
    paths = {"STUDY": str(nodule_study), "DATA": str(nodule_hospitals), "OUT": str(tmp_path / "out")}
    done = CliRunner().invoke(app, [paths.get(word, word) for word in words])
    assert done.exit_code == 0, done.output
    assert parsed[(nodule_study / "pyproject.toml").read_text()] == 1
    assert set(parsed.values()) == {1}  # a bundle is read back, which is another text


def test_the_same_configuration_is_the_same_study(nodule_study: Path, read: Counter[str]) -> None:
    config = read_run_config(nodule_study) | {"seed": 987}
    first = study_from_run_config(config)
    assert study_from_run_config(dict(reversed(config.items()))) is first
    assert read_study(nodule_study, {"seed": 987}) is first
    assert read["study"] == 1
    assert study_from_run_config(config | {"seed": 988}) != first
    assert read["study"] == 2
