"""A process reads the file of a study once, and validates it once, on its way from the command line to the server's app."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

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


def test_the_same_configuration_is_the_same_study(nodule_study: Path, read: Counter[str]) -> None:
    config = read_run_config(nodule_study) | {"seed": 987}
    first = study_from_run_config(config)
    assert study_from_run_config(dict(reversed(config.items()))) is first
    assert read_study(nodule_study, {"seed": 987}) is first
    assert read["study"] == 1
    assert study_from_run_config(config | {"seed": 988}) != first
    assert read["study"] == 2
